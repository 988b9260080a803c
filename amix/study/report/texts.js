"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [A, ...partners] = data.texts;
const by = id => document.getElementById(id);
const state = {...data.chosen};
for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
  if (name in state) state[name] = ["with", "strength", "sharpness"].includes(name) ? Number(value) : value;

const rowsOf = spec => {
  const rows = new Set();
  for (const item of spec.split(",")) {
    const [layer, head] = item.trim() === "mean" ? [null, null] : item.trim().split(".");
    data.heads.forEach(([l, h], row) => {
      if ((layer === null || Number(layer) === l) && (head === null || head === "mean" || Number(head) === h)) rows.add(row);
    });
  }
  return [...rows];
};
if (!rowsOf(state.head).length) state.head = data.chosen.head;
const partner = () => partners.find(text => text.row === state.with) || partners[0];
const received = (text, rows) =>
  text.tokens.map((_, j) => rows.reduce((sum, row) => sum + text.relevance[row][j], 0) / rows.length);

// docs/architecture.md, section 4: rule 3
function contentRelevance(text, values) {
  const keep = state.special === "keep";
  const inside = text.tokens.map((_, j) => keep || text.content[j] === 1);
  const kept = values.map((value, j) => inside[j] ? value : 0);
  const total = kept.reduce((a, b) => a + b, 0), count = inside.filter(Boolean).length;
  if (total === 0) return {inside, values: inside.map(Number)};
  return {inside, values: keep ? kept : kept.map(value => value * count / total)};
}
// rule 4 with the sharpness of rule 8
function pairRatio(a, b) {
  const peak = Math.max(a, b);
  if (peak === 0) return 0.5;
  const x = Math.pow(a / peak, state.sharpness), y = Math.pow(b / peak, state.sharpness);
  return x / (x + y);
}
function mix(B, a, b) {
  const length = Math.max(A.tokens.length, B.tokens.length);
  const at = (list, j) => j < list.length ? list[j] : 0;
  const places = [...Array(length).keys()];
  const ratio = places.map(j => {
    const own = at(a.inside, j), other = at(b.inside, j);
    return own && other ? pairRatio(a.values[j], b.values[j]) : own ? 1 : other ? 0 : null;
  });
  // rule 6
  const union = places.filter(j => ratio[j] !== null);
  let weight = 0.5;
  if (state.label_weight === "mass") {
    const own = union.reduce((sum, j) => sum + ratio[j] * at(a.values, j), 0);
    const other = union.reduce((sum, j) => sum + (1 - ratio[j]) * at(b.values, j), 0);
    if (own + other > 0) weight = own / (own + other);
  } else if (union.length) weight = union.reduce((sum, j) => sum + ratio[j], 0) / union.length;
  for (const j of places)
    if (ratio[j] === null) {
      const own = j < A.tokens.length, other = j < B.tokens.length;
      ratio[j] = own && other ? weight : other ? 0 : 1;
    }
  const pull = value => 1 - state.strength * (1 - value);
  return {ratio: ratio.map(pull), weight: pull(weight)};
}

const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};
const labelOf = text => {
  const names = Object.keys(text.label);
  return !names.length ? "no label" : names.map(n => text.label[n] === 1 ? n : `${n} ${text.label[n]}`).join(", ");
};
const beginOf = text => {
  const words = text.tokens.map((token, j) => text.content[j] ? (text.glued[j] ? "" : " ") + token : "").join("").trim();
  return words.length > 40 ? words.slice(0, 39).trim() + "…" : words;
};

function drawPicker() {
  const layers = [...new Set(data.heads.map(([layer]) => layer))].sort((a, b) => a - b);
  const heads = [...new Set(data.heads.map(([, head]) => head))].sort((a, b) => a - b);
  const table = make("table");
  const pick = (spec, text, title) => {
    const cell = make("td", undefined, text === "mean" ? "mean" : ""), label = make("label"), input = make("input");
    input.type = "radio"; input.name = "head"; input.value = spec; input.setAttribute("aria-label", title);
    input.onchange = () => { state.head = spec; draw(); };
    label.title = title;
    label.append(input, make("span", text, "pick"));
    cell.append(label);
    return cell;
  };
  const headed = (word, text) => {
    const cell = make("th");
    cell.scope = "row";
    cell.append(make("span", word, "word"), text);
    return cell;
  };
  for (const layer of layers) {
    const row = table.insertRow();
    row.append(headed("layer ", layer), pick(`${layer}.mean`, "mean", `mean of layer ${layer}`));
    for (const head of heads)
      row.append(data.heads.some(([l, h]) => l === layer && h === head)
        ? pick(`${layer}.${head}`, head, `layer ${layer}, head ${head}`) : make("td"));
  }
  if (layers.length > 1) table.insertRow().append(headed("", "all"), pick("mean", "mean", "mean of all heads"));
  // Left and right are the browser's; up and down stay in the column.
  table.onkeydown = event => {
    const step = {ArrowUp: -1, ArrowDown: 1}[event.key], cell = event.target.closest("td");
    if (!step || !cell) return;
    event.preventDefault();
    for (let row = table.rows[cell.parentElement.rowIndex + step]; row; row = table.rows[row.rowIndex + step]) {
      const input = row.cells[cell.cellIndex]?.querySelector("input");
      if (input) { input.focus(); input.click(); return; }
    }
  };
  by("picker").append(table);
}

// A chosen head is never outside the part of the frame that shows.
function reveal(input) {
  const frame = by("picker"), cell = input.closest("td"), first = cell.parentElement.cells[0].offsetWidth;
  if (cell.offsetLeft - first < frame.scrollLeft || cell.offsetLeft + cell.offsetWidth > frame.scrollLeft + frame.clientWidth)
    frame.scrollLeft = cell.offsetLeft - (frame.clientWidth + first) / 2;
}

function drawText(index, text, values) {
  const words = values.filter((_, j) => text.content[j]);
  const full = data.full * words.reduce((a, b) => a + b, 0) / words.length || 1;
  by(`text-${index}`).replaceChildren(...text.tokens.flatMap((token, j) => {
    const span = make("span", token, text.content[j] ? "" : "special");
    span.title = `receives ${values[j].toFixed(3)}`;
    if (text.content[j]) span.style.setProperty("--share", `${Math.round(100 * Math.min(values[j] / full, 1))}%`);
    span.append(make("small", values[j].toFixed(2)));
    return text.glued[j] || !j ? [span] : [" ", span];
  }));
}

function draw() {
  const B = partner();
  for (const input of document.querySelectorAll("#picker input")) {
    input.checked = input.value === state.head;
    if (input.checked) reveal(input);
  }
  by("head-name").textContent = state.head;
  const values = [A, B].map(text => received(text, rowsOf(state.head)));
  [A, B].forEach((text, index) => {
    by(`title-${index}`).textContent = `Row ${text.row}, ${labelOf(text)}, ${text.tokens.length} tokens`;
    drawText(index, text, values[index]);
  });
  const own = contentRelevance(A, values[0]), other = contentRelevance(B, values[1]);
  const {ratio, weight} = mix(B, own, other);

  const soft = {};
  for (const [text, share] of [[A, weight], [B, 1 - weight]])
    for (const [name, value] of Object.entries(text.label)) soft[name] = (soft[name] || 0) + share * value;
  const shown = Object.entries(soft).map(([name, value]) => `“${name}” ${value.toFixed(3)}`).join(", ");
  by("label-text").textContent = `The first text’s label weighs ${weight.toFixed(3)}` + (shown ? `: the mixed label is ${shown}.` : ".");
  by("labels").firstElementChild.style.width = `${100 * weight}%`;
  document.body.dataset.labelWeight = weight;

  by("positions").replaceChildren(...ratio.map((value, j) => {
    const row = make("tr");
    row.dataset.ratio = value;
    const side = (text, isLarger, relevance) => {
      const cell = make("td");
      if (j < text.tokens.length) {
        cell.append(make(isLarger ? "b" : "span", text.tokens[j]));
        cell.title = `counts ${(relevance[j] || 0).toFixed(3)} in the mix`;
      }
      return cell;
    };
    const bar = make("div", undefined, "bar"), fill = make("i"), middle = make("td"), place = make("th", j);
    place.scope = "row";
    fill.style.width = `${100 * value}%`;
    bar.append(fill, make("span", value.toFixed(2)));
    middle.append(bar);
    row.append(place, side(A, value >= 0.5, own.values), middle, side(B, value <= 0.5, other.values));
    return row;
  }));
  for (const id of ["strength", "sharpness"]) {
    if (Number(by(id).max) < state[id]) by(id).max = state[id];
    by(id).value = state[id]; by(id).nextElementSibling.textContent = state[id];
  }
  for (const id of ["with", "label_weight", "special"]) by(id).value = state[id];
  history.replaceState(null, "", "#" + new URLSearchParams(state));
}
by("about").textContent = "The stronger the colour of a word, the more attention it receives from the other tokens of its text " +
  `(kind “${data.relevance}”, 1 on average over all tokens). amix ${data.version}.`;
by("full").textContent = `${data.full} times the average word of its text, and more`;
for (const text of partners) {
  const option = make("option", `row ${text.row}, ${labelOf(text)}, ${text.tokens.length} tokens: ${beginOf(text)}`);
  option.value = text.row;
  by("with").append(option);
}
state.with = partner().row;
for (const id of ["strength", "sharpness"]) by(id).oninput = event => { state[id] = Number(event.target.value); draw(); };
by("with").onchange = event => { state.with = Number(event.target.value); draw(); };
for (const id of ["label_weight", "special"]) by(id).onchange = event => { state[id] = event.target.value; draw(); };
by("numbers").onchange = event => document.body.classList.toggle("numbers", event.target.checked);
drawPicker();
draw();
