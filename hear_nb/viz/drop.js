// A place to drop files on, or to click and choose them. They go to the kernel in pieces that fit through its websocket.
const PIECE = 2 ** 22;

function render({ model, el }) {
  const zone = el.appendChild(document.createElement("label"));
  const text = zone.appendChild(document.createElement("span"));
  const input = zone.appendChild(document.createElement("input"));
  zone.className = "hear-drop";
  text.textContent = model.get("text");
  Object.assign(input, { type: "file", multiple: true, accept: "audio/*", className: "hear-drop-input" });

  async function send(files) {
    for (const file of files) {
      const bytes = await file.arrayBuffer(), pieces = Math.max(Math.ceil(bytes.byteLength / PIECE), 1);
      for (let k = 0; k < pieces; k++)
        model.send({ name: file.name, last: k === pieces - 1 }, undefined, [bytes.slice(k * PIECE, (k + 1) * PIECE)]);
    }
  }

  zone.ondragover = (e) => { e.preventDefault(); zone.classList.add("hear-over"); };
  zone.ondragleave = () => zone.classList.remove("hear-over");
  zone.ondrop = (e) => { e.preventDefault(); e.stopPropagation(); zone.classList.remove("hear-over"); send(e.dataTransfer.files); };
  input.onchange = () => { send([...input.files]); input.value = ""; };
}

export default { render };
