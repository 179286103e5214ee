"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const STEP = 100;
  const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
  const escapeBidi = (text) => text.replace(controls, (c) => "[U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "]");
  const element = (name, kind, text) => {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = escapeBidi(text);
    return node;
  };
  const last = data.systems.length - 1;
  const errors = (row, k) => (row.s[k] ? row.s[k][0] : 0);
  const rate = (row, k) => (row.s[k] ? row.s[k][0] / Math.max(row.s[k][1], 1) : 0);
  data.rows.forEach((row, i) => {
    row.i = i;
    const words = row.s.flatMap((s) => (s ? s[2].map((w) => (typeof w === "string" ? w : w[1] + " " + w[2])) : []));
    row.text = (row.id + " " + words.join(" ") + " " + (row.g || []).join(" ")).toLowerCase();
  });

  const filters = [
    ["all utterances", () => true],
    ["with errors", (r) => r.s.some((s) => s && s[0])],
    ["without errors", (r) => r.s.every((s) => s && !s[0])],
  ];
  if (!data.labels) {
    filters.push(["more errors than words", (r) => r.s.some((s) => s && s[0] > s[1])]);
    filters.push(["with repetition loops", (r) => r.s.some((s) => s && s[3])]);
  }
  if (last > 0) {
    filters.push(["better in " + data.systems[last], (r) => errors(r, last) < errors(r, 0)]);
    filters.push(["worse in " + data.systems[last], (r) => errors(r, last) > errors(r, 0)]);
  }
  const sorts = [
    ["most errors first", (a, b) => errors(b, last) - errors(a, last)],
    ["highest rate first", (a, b) => rate(b, last) - rate(a, last)],
    ["longest first", (a, b) => (b.s[last] ? b.s[last][1] : 0) - (a.s[last] ? a.s[last][1] : 0)],
    ["by id", (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)],
    ["file order", () => 0],
  ];
  if (last > 0) {
    sorts.push(["most improved first", (a, b) => errors(b, 0) - errors(b, last) - errors(a, 0) + errors(a, last)]);
    sorts.push(["most worsened first", (a, b) => errors(b, last) - errors(b, 0) - errors(a, last) + errors(a, 0)]);
  }
  const fill = (select, names) => names.forEach((name, i) => {
    const option = element("option", "", name);
    option.value = String(i);
    select.append(option);
  });
  fill($("filter"), filters.map((f) => f[0]));
  fill($("sort"), sorts.map((s) => s[0]));
  const groups = data.columns.slice(0, data.filters).map((column, k) => {
    const label = element("label", "", column + " ");
    const select = element("select");
    const values = [...new Set(data.rows.filter((r) => r.g).map((r) => r.g[k]))].sort();
    fill(select, ["all", ...values]);
    label.append(select);
    $("groups").append(label);
    return { select, values, k };
  });

  const isRightToLeft = (text) => {
    const first = text.match(/\p{L}/u);  // the first letter decides, as in Unicode's bidirectional algorithm
    return first !== null && /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(first[0]);
  };
  const makeWord = (word) => {
    if (typeof word === "string") return element("bdi", "", word);
    const [operation, reference, hypothesis] = word;
    const mark = element("span", operation === "=" ? "" : operation);
    const tooltip = hypothesis ? "correct: " + reference : "optional, left out";
    mark.title = escapeBidi({ S: "substituted for " + reference, D: "deleted", I: "inserted", "=": tooltip }[operation]);
    mark.append(element("bdi", "", operation === "D" ? reference : hypothesis || "(" + reference + ")"));
    if (operation === "S") {
      const struck = element("s");
      struck.append(element("bdi", "", reference));
      mark.append(struck);
    }
    return mark;
  };
  const makeLine = (name, kind, words, right) => {
    const line = element("div", "line");
    const text = element("div", kind);
    text.dir = right ? "rtl" : "ltr";
    words.forEach((word, i) => text.append(...(i ? [" "] : []), makeWord(word)));
    line.append(element("span", "name", name), text);
    return line;
  };
  const makeRow = (row) => {
    const item = element("li");
    const head = element("div", "head");
    head.append(element("bdi", "", row.id));
    (row.g || []).forEach((value, k) => head.append(element("span", "", data.columns[k] + ": " + value)));
    item.append(head);
    const aligned = row.s.find((s) => s)[2];
    const reference = aligned.map((w) => (typeof w === "string" ? w : w[1])).filter((w) => w);
    const right = isRightToLeft(reference.join(" ") || aligned.map((w) => w[2]).join(" "));
    item.append(makeLine("reference", "reference", reference, right));
    row.s.forEach((s, k) => {
      const name = last > 0 ? data.systems[k] : "hypothesis";
      item.append(makeLine(name + (s ? " " + s[0] + " / " + s[1] : ": none"), "words", s ? s[2] : [], right));
    });
    if (row.a) {
      const audio = element("audio");
      audio.controls = true;
      audio.preload = "none";
      audio.src = row.a;
      audio.setAttribute("aria-label", "audio of " + escapeBidi(row.id));
      item.append(audio);
    }
    return item;
  };

  let found = [];
  let shown = 0;
  const more = () => {
    const fragment = document.createDocumentFragment();
    found.slice(shown, shown + STEP).forEach((row) => fragment.append(makeRow(row)));
    $("rows").append(fragment);
    shown = Math.min(shown + STEP, found.length);
    $("count").textContent = found.length + " of " + data.rows.length + " utterances, " + shown + " shown";
    $("more").hidden = shown >= found.length;
  };
  const update = () => {
    const wanted = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const keep = filters[Number($("filter").value)][1];
    const compare = sorts[Number($("sort").value)][1];
    const chosen = groups.filter((g) => g.select.value !== "0");
    found = data.rows.filter((row) => keep(row)
      && chosen.every((g) => row.g && row.g[g.k] === g.values[Number(g.select.value) - 1])
      && wanted.every((word) => row.text.includes(word)));
    found.sort((a, b) => compare(a, b) || a.i - b.i);
    shown = 0;
    $("rows").replaceChildren();
    more();
  };
  let waiting = 0;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(update, 120); });
  [$("filter"), $("sort"), ...groups.map((g) => g.select)].forEach((s) => s.addEventListener("change", update));
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", more);
  document.querySelectorAll(".find").forEach((button) => button.addEventListener("click", () => {
    $("search").value = button.dataset.id;
    $("filter").value = "0";
    groups.forEach((g) => { g.select.value = "0"; });
    update();
    $("utterances").scrollIntoView();
    $("utterances").focus();
  }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select")) {
      event.preventDefault();
      $("search").focus();
    }
  });
  update();
})();
