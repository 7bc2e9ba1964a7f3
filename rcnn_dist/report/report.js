const each = (selector, act, root = document) => root.querySelectorAll(selector).forEach(act);

// Pictures are loaded when the page stands, a few at a time, so that very many of them do not keep it from being used.
const load = image => { if (image.dataset.src) { image.src = image.dataset.src; delete image.dataset.src; } };
const waiting = [...document.querySelectorAll("img[data-src]")];
const loadSome = () => {
  waiting.splice(0, 8).forEach(load);
  if (waiting.length) requestIdleCallback(loadSome);
};
addEventListener("load", () => requestIdleCallback(loadSome));
addEventListener("beforeprint", () => each("img[data-src]", load));

// Tables are sorted by a click on a heading.
each("table.sortable", table => {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const numeric = head.classList.contains("number"), before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numeric, sign = down ? -1 : 1;
      const key = row => numeric ? row.cells[column].dataset.v : row.cells[column].textContent.trim();
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...body.rows].sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (numeric ? x - y : x.localeCompare(y));
      }));
    };
  });
});

// A class's name in the table of AP shows its curve beside the table.
const picked = document.getElementById("picked");
each("button.pick", button => {
  button.onclick = () => {
    const card = document.getElementById(button.dataset.card).cloneNode(true);
    card.removeAttribute("id");
    each("img", load, card);
    picked.replaceChildren(card);
    each("button.pick", other => other.setAttribute("aria-pressed", other === button));
  };
});

// Sections with filters show the figures, boxes and lines that all of them let through.
each("section.filtered", section => {
  const inputs = Object.fromEntries([...section.querySelectorAll("[name]")].map(input => [input.name, input]));
  const items = [...section.querySelectorAll("[data-class]")], counted = section.querySelector("output.count");
  const range = section.querySelector("output.least");
  const apply = () => {
    const by = inputs.by.value, [low, high] = by === "precision" ? [0, 1] : [+section.dataset.low, +section.dataset.high];
    const part = inputs.least.value / 100, least = part > 0 ? low + (high - low) * part : -Infinity;
    range.textContent = part > 0 ? `${least.toFixed(2)} or more` : "any";
    inputs.least.setAttribute("aria-valuetext", range.textContent);
    let shown = 0, all = 0;
    for (const item of items) {
      const d = item.dataset;
      const on = ["class", "verdict", "kind"].every(name => !inputs[name]?.value || d[name] === inputs[name].value)
        && (d[by] === "" || +d[by] >= least);
      item.toggleAttribute("hidden", !on);
      if (item.tagName !== "TR") { all += 1; shown += on; }
    }
    counted.textContent = `${shown} of ${all} shown`;
  };
  section.addEventListener("input", apply);
  apply();
});
