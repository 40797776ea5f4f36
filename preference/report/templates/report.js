"use strict";
// The browser of test pairs, and what a mark of a chart says where the pointer rests. Text of the data
// only ever becomes text nodes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const count = data.row.length;
  const last = data.models.length - 1;
  const ROW = 56;
  const margins = data.margins;
  const change = margins[last].map((m, i) => m - margins[0][i]);
  const number = (x) => (x < 0 ? "\u2212" : "") + Math.abs(x).toFixed(3);
  const signed = (x) => (x < 0 ? "" : "+") + number(x);
  const right = (model, i) => margins[model][i] > 0;
  const FILTERS = {
    "all pairs": () => true,
    "right after training": (i) => right(last, i),
    "wrong after training": (i) => !right(last, i),
    "gained: wrong before, right after": (i) => !right(0, i) && right(last, i),
    "lost: right before, wrong after": (i) => right(0, i) && !right(last, i),
    "as long as max_length allows": (i) => data.full[i],
  };
  const ORDERS = {
    "place in the data": null,
    "margin, lowest first": (i) => margins[last][i],
    "margin, highest first": (i) => -margins[last][i],
    "change since the baseline, lowest first": (i) => change[i],
    "change since the baseline, highest first": (i) => -change[i],
    "how much longer the chosen one is": (i) => data.tokens[1][i] - data.tokens[0][i],
  };
  let texts = null;  // in lower case, made when first searched
  let shown = [];
  let active = 0;

  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  function update() {
    const wanted = byId("search").value.trim().toLowerCase();
    if (wanted && !texts) {
      texts = data.turns.map((turns, i) => [...turns.map((turn) => turn[1]), data.chosen[i], data.rejected[i]]
        .join("\n").toLowerCase());
    }
    const keep = FILTERS[byId("filter").value];
    const key = ORDERS[byId("sort").value];
    shown = [];
    for (let i = 0; i < count; i++) {
      if (keep(i) && (!wanted || texts[i].includes(wanted))) shown.push(i);
    }
    if (key) {
      const keys = shown.map(key);
      shown = shown.map((_, n) => n).sort((a, b) => keys[a] - keys[b]).map((n) => shown[n]);
    }
    byId("count").textContent = `${shown.length} of ${count} pairs`;
    byId("rows").style.height = `${shown.length * ROW}px`;
    byId("list").scrollTop = 0;
    select(0);
  }

  // Only what is in sight is in the page.
  function draw() {
    const list = byId("list");
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const to = Math.min(shown.length, from + Math.ceil(list.clientHeight / ROW) + 8);
    const rows = [];
    for (let n = from; n < to; n++) {
      const i = shown[n];
      const row = make("div", undefined, "row");
      row.id = `option-${n}`;
      row.style.top = `${n * ROW}px`;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(n === active));
      row.setAttribute("aria-setsize", String(shown.length));
      row.setAttribute("aria-posinset", String(n + 1));
      const numbers = make("div", undefined, "numbers");
      numbers.append(
        make("span", `row ${data.row[i]}`),
        make("span", `margin ${signed(margins[last][i])}`, right(last, i) ? "good" : "bad"),
        make("span", `change ${signed(change[i])}`),
      );
      row.append(numbers, make("div", data.question[i], "words"));
      row.addEventListener("click", () => select(n));
      rows.push(row);
    }
    byId("rows").replaceChildren(...rows);
  }

  function select(n) {
    active = Math.max(0, Math.min(n, shown.length - 1));
    const list = byId("list");
    const top = active * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    draw();
    list.setAttribute("aria-activedescendant", shown.length ? `option-${active}` : "");
    describe(shown[active]);
  }

  function describe(i) {
    const pair = byId("pair");
    if (i === undefined) {
      pair.replaceChildren(make("p", "No pair fits; change the search or the filter."));
      return;
    }
    const parts = [make("h3", `Row ${data.row[i]} of the test data`)];
    for (const [role, said] of data.turns[i]) {
      const block = make("div", undefined, `turn ${role}`);
      if (role) block.append(make("b", role));
      block.append(document.createTextNode(said));
      parts.push(block);
    }
    const responses = make("div", undefined, "responses");
    ["chosen", "rejected"].forEach((side, s) => {
      const block = make("div");
      block.append(make("h4", `${side}, ${data.tokens[s][i]} tokens`));
      block.append(document.createTextNode(data[side][i]));
      responses.append(block);
    });
    parts.push(responses);
    const table = make("table");
    const head = make("tr");
    head.append(...["model", "chosen", "rejected", "margin"].map((name) => make("th", name)));
    table.append(head);
    data.models.forEach((model, m) => {
      const line = make("tr");
      line.append(make("th", model));
      for (const side of [0, 1]) line.append(make("td", number(data.scores[m][side][i])));
      line.append(make("td", signed(margins[m][i]), right(m, i) ? "good" : "bad"));
      table.append(line);
    });
    parts.push(table);
    if (data.full[i]) {
      parts.push(make("p", "The models saw as many tokens of it as data.max_length allows: its beginning "
        + "was probably cut."));
    }
    pair.replaceChildren(...parts);
    pair.scrollTop = 0;
  }

  for (const [id, options] of [["filter", FILTERS], ["sort", ORDERS]]) {
    byId(id).append(...Object.keys(options).map((name) => new Option(name, name)));
    byId(id).addEventListener("change", update);
  }
  let waiting;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  byId("list").addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  byId("list").addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(byId("list").clientHeight / ROW) - 1);
    const to = {
      ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page,
      Home: 0, End: shown.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(to);
  });
  addEventListener("resize", draw);

  const tip = byId("tip");
  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest && event.target.closest("figure [role=graphics-symbol]");
    const told = mark && mark.getAttribute("aria-label");
    tip.hidden = !told;
    if (!told) return;
    tip.textContent = told;
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
  });
  update();
  document.documentElement.dataset.ready = "true";
})();
