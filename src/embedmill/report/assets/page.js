"use strict";
// What comes from the store is set as textContent and nothing else: it is data, and never markup.

const data = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function models() {
  return Bokeh.documents.flatMap((each) => [...each._all_models.values()]);
}

function paint() {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  for (const model of models()) {
    if (/Axis$/.test(model.type)) {
      model.setv({
        axis_label_text_color: soft, axis_label_text_font_style: "normal", major_label_text_color: ink,
        axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null,
      });
    } else if (model.type === "Grid") {
      model.setv({ grid_line_color: line });
    } else if (model.type === "Legend") {
      model.setv({ label_text_color: ink });
    }
  }
}

function place(index) {
  const line = data.map.lines[index];
  return data.map.documents[data.map.document[index]] + (line ? ":" + line : "");
}

function chunk(parent, index) {
  const name = document.createElement("b");
  name.textContent = place(index);
  const text = document.createElement("p");
  text.textContent = data.map.texts[index];
  parent.append(name, text);
}

function showTips(source) {
  const tip = document.getElementById("tip");
  const figure = document.getElementById("map");
  figure.addEventListener("pointermove", (event) => {
    const right = event.clientX > innerWidth / 2;
    const low = event.clientY > innerHeight / 2;
    tip.style.left = right ? "" : event.clientX + 14 + "px";
    tip.style.right = right ? innerWidth - event.clientX + 14 + "px" : "";
    tip.style.top = low ? "" : event.clientY + 14 + "px";
    tip.style.bottom = low ? innerHeight - event.clientY + 14 + "px" : "";
  });
  figure.addEventListener("pointerleave", () => { tip.hidden = true; });
  source.inspect.connect(() => {
    const under = source.inspected.indices;
    tip.hidden = under.length === 0;
    tip.replaceChildren();
    if (under.length) chunk(tip, under[0]);
    if (under.length > 1) {
      const more = document.createElement("span");
      more.className = "soft";
      more.textContent = "and " + (under.length - 1).toLocaleString("en") + " more here";
      tip.append(more);
    }
  });
}

function search(source, points) {
  const query = document.getElementById("query");
  const found = document.getElementById("found");
  const hits = document.getElementById("hits");
  const all = data.map.texts.map((text, index) => (place(index) + "\n" + text).toLowerCase());
  const LISTED = 50;

  function select(indices) { source.selected.indices = indices; }

  function ask() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = [];
    if (words.length) all.forEach((text, index) => { if (words.every((word) => text.includes(word))) matches.push(index); });
    points.visible = !words.length || matches.length > 0; // no selection would show all
    select(matches);
    found.textContent = words.length
      ? matches.length.toLocaleString("en") + " of " + all.length.toLocaleString("en") + " chunks" : "";
    hits.replaceChildren(...matches.slice(0, LISTED).map((index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      chunk(button, index);
      for (const name of ["mouseenter", "focus", "click"]) button.addEventListener(name, () => select([index]));
      for (const name of ["mouseleave", "blur"]) button.addEventListener(name, () => select(matches));
      item.append(button);
      return item;
    }));
  }

  let waiting;
  query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(ask, 120); });
}

Promise.all(Object.entries(data.plots).map(([name, item]) => Bokeh.embed.embed_item(item, name))).then(() => {
  paint();
  dark.addEventListener("change", paint);
  const source = models().find((each) => each.name === "map");
  if (source) {
    showTips(source);
    search(source, models().find((each) => each.type === "GlyphRenderer" && each.data_source === source));
  }
  document.documentElement.dataset.ready = "yes";
});
