// A saved page of one or more players.
function problem(e) {
  $("problem").textContent = e ? e.message || String(e) : "";
  $("problem").hidden = !e;
}

startPage();
for (const saved of data.players) {
  const tracks = saved.tracks.map((t) => ({ ...t, picture: bytesOf(t.picture) }));
  Player.render({ model: playerModel({ ...saved, tracks }, problem), el: add($("clip"), "div") });
}
