// What the pages do beside being read: tables that sort, cells that show their seeds, plots, the choice of light or
// dark, and, where the page is served from a live database, watching for a later state. It asks no network for
// anything but the server that the page came from, and stores nothing.
"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const COLORS = 7;
  const STROKES = ["", "9 3 2 3", "2 3"];
  const DASHES = ["6 4", "2 4", "12 4"]; // of what was published, and of losses in training
  const SHOWN_AT_FIRST = 12;
  const MOST_IN_TIP = 16;
  const POLL_MS = 2000;

  const sorted = new Map(); // table's id -> [column, direction]; kept when the page shows a later state
  const hidden = new Map(); // plot's id -> labels that are switched off

  function make(name, attributes = {}, ...children) {
    const node = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // ---- light and dark ----

  function addTheme(controls) {
    const dark = () => document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const button = make("button", { type: "button", class: "theme" });
    const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      name();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    name();
    controls.append(button);
  }

  // ---- what hovers ----

  const tip = make("div", { class: "tip", role: "tooltip", id: "tip", hidden: "" });
  const voice = make("div", { class: "hidden", role: "status" });

  function showTip(text, box) {
    tip.textContent = text;
    tip.hidden = false;
    const width = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, width - tip.offsetWidth - 8));
    const below = box.bottom + 8 + tip.offsetHeight < window.innerHeight;
    const top = below ? box.bottom + 8 : Math.max(8, box.top - tip.offsetHeight - 8);
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${top + window.scrollY}px`;
  }

  function hideTip() { tip.hidden = true; }

  // Who uses the keyboard has the page scroll under a pointer that lies still: that it is over something else then, or
  // over nothing, must not hide what the focus shows.
  let still = false;
  let last = "";

  function notePointer(event) {
    const now = `${event.screenX},${event.screenY}`;
    if (now !== last) still = false;
    last = now;
  }

  document.addEventListener("pointerover", notePointer, true);
  document.addEventListener("pointermove", notePointer, true);
  document.addEventListener("keydown", () => { still = true; }, true);

  const onPointer = (node, type, act) => node.addEventListener(type, (event) => { if (!still) act(event); });

  // ---- tables ----

  const collator = new Intl.Collator(undefined, { numeric: true });

  // The heading of each column: of a head in two lines, whichever stands lowest there.
  function headings(table) {
    const taken = [];
    const found = [];
    [...table.tHead.rows].forEach((row, line) => {
      let column = 0;
      for (const cell of row.cells) {
        while (taken[line]?.[column]) column++;
        for (let i = 0; i < cell.rowSpan; i++) {
          taken[line + i] ??= [];
          for (let j = 0; j < cell.colSpan; j++) taken[line + i][column + j] = true;
        }
        if (cell.colSpan === 1) found[column] = cell;
        column += cell.colSpan;
      }
    });
    return found;
  }

  const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("group"));

  function isNumeric(table, column) {
    return [...table.tBodies].some((body) => rowsOf(body).some((row) => row.cells[column]?.dataset.value !== undefined));
  }

  function keyOf(cell, numeric) {
    if (!cell) return null;
    if (!numeric) return cell.textContent.trim() || null;
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  }

  // Rows stay within their group; what has no value comes last either way. Direction 0 is the order of the file.
  function sortTable(table, heads, column, direction) {
    const numeric = isNumeric(table, column);
    for (const body of table.tBodies) {
      body.original ??= rowsOf(body);
      let rows = body.original;
      if (direction) {
        const keyed = rows.map((row) => [keyOf(row.cells[column], numeric), row]);
        keyed.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return direction * (numeric ? a - b : collator.compare(a, b));
        });
        rows = keyed.map(([, row]) => row);
      }
      const all = document.createDocumentFragment();
      for (const row of rows) all.append(row);
      body.append(all);
    }
    heads.forEach((head, at) => {
      const order = at === column && direction ? (direction > 0 ? "ascending" : "descending") : "none";
      head.setAttribute("aria-sort", order);
    });
    sorted.set(table.id, [column, direction]);
  }

  function makeSortable(table) {
    const heads = headings(table);
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const [last, direction] = sorted.get(table.id) ?? [-1, 0];
        sortTable(table, heads, column, last !== column || !direction ? 1 : direction > 0 ? -1 : 0);
      });
    });
    const [column, direction] = sorted.get(table.id) ?? [0, 0];
    if (direction && heads[column]) sortTable(table, heads, column, direction);
  }

  // One cell of a table is in the order of the Tab key; arrows lead to the others.
  function makeSeedsKnown(table) {
    if (!table.querySelector("[title]")) return;
    table.setAttribute("role", "grid");
    for (const cell of table.querySelectorAll("[title]")) { // ours is reached by the keyboard too
      cell.dataset.tip = cell.title;
      cell.removeAttribute("title");
    }
    let active = table.querySelector("td[data-tip]") ?? table.querySelector("[data-tip]");
    active.tabIndex = 0;
    const cellOf = (event) => event.target.closest?.("[data-tip]");
    const show = (cell) => showTip(cell.dataset.tip, cell.getBoundingClientRect());
    onPointer(table, "mouseover", (event) => { const cell = cellOf(event); if (cell) show(cell); else hideTip(); });
    onPointer(table, "mouseleave", hideTip);
    table.addEventListener("focusout", hideTip);
    table.addEventListener("focusin", (event) => {
      const cell = cellOf(event);
      if (!cell) return;
      if (cell !== active) {
        active.removeAttribute("tabindex"); // of the cell that has the focus it would take it away
        active.removeAttribute("aria-describedby");
        active = cell;
      }
      active.tabIndex = 0;
      active.setAttribute("aria-describedby", "tip");
      show(cell);
    });
    table.addEventListener("keydown", (event) => {
      const cell = cellOf(event);
      const next = cell && neighbour(cell, event.key);
      if (!next) return;
      event.preventDefault();
      next.tabIndex = 0;
      next.focus();
    });
  }

  function neighbour(cell, key) {
    const row = cell.parentNode;
    const inRow = [...row.querySelectorAll("[data-tip]")];
    const at = inRow.indexOf(cell);
    if (key === "ArrowRight") return inRow[at + 1];
    if (key === "ArrowLeft") return inRow[at - 1];
    if (key === "Home") return inRow[0];
    if (key === "End") return inRow[inRow.length - 1];
    if (key !== "ArrowDown" && key !== "ArrowUp") return null;
    const rows = [...cell.closest("table").querySelectorAll("tbody tr:not(.group)")];
    const step = key === "ArrowDown" ? 1 : -1;
    for (let i = rows.indexOf(row) + step; rows[i]; i += step) {
      const other = rows[i].cells[cell.cellIndex];
      if (other?.dataset.tip) return other;
    }
    return null;
  }

  // ---- plots ----

  function ticks(low, high, count) {
    const raw = (high - low || 1) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
    return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  }

  const written = (value, digits) => value.toFixed(digits);
  const scale = (low, high, from, to) => (value) =>
    high > low ? from + ((value - low) / (high - low)) * (to - from) : (from + to) / 2;

  function swatch(color, stroke) {
    const line = make("svg:line", { x1: 0, y1: 4, x2: 24, y2: 4, stroke: "currentColor", "stroke-width": 2.5 });
    if (stroke) line.setAttribute("stroke-dasharray", stroke);
    return make("svg:svg", { width: 24, height: 8, class: `c${color}`, "aria-hidden": "true" }, line);
  }

  // A button for each entry [name, swatch or null]; one that is not pressed is left out of the drawing.
  function makeLegend(entries, off, redraw) {
    const legend = make("div", { class: "legend", role: "group", "aria-label": "Shown in the plot" });
    for (const [name, mark] of entries) {
      const button = make("button", { type: "button", "aria-pressed": String(!off.has(name)) });
      if (mark) button.append(mark);
      button.append(make("span", { dir: "auto" }, name));
      button.addEventListener("click", () => {
        if (!off.delete(name)) off.add(name);
        button.setAttribute("aria-pressed", String(!off.has(name)));
        redraw();
      });
      legend.append(button);
    }
    return legend;
  }

  function drawPlot(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const place = make("div", { class: "drawing" });
    const forest = data.kind === "forest";
    const names = forest ? [...new Set(data.intervals.map((each) => each.label))] : data.lines.map(nameOf);
    if (!hidden.has(figure.id)) hidden.set(figure.id, new Set(forest ? [] : names.slice(SHOWN_AT_FIRST)));
    const off = hidden.get(figure.id);
    const caption = figure.querySelector("figcaption").textContent;
    const redraw = () => {
      hideTip();
      const width = Math.max(320, figure.clientWidth);
      place.replaceChildren(forest ? drawForest(data, off, width, caption) : drawCurves(data, off, width, caption));
    };
    const marks = forest ? names.map((name) => [name, null]) : data.lines.map((line, at) => [names[at], markOf(data, line)]);
    if (forest && data.intervals.some((each) => each.series)) figure.append(seriesKey(data));
    if (names.length > 1) figure.append(makeLegend(marks, off, redraw));
    figure.append(place);
    redraw();
    let last = figure.clientWidth;
    new ResizeObserver(() => {
      if (figure.clientWidth !== last) { last = figure.clientWidth; redraw(); }
    }).observe(figure);
  }

  function seriesKey(data) {
    const names = [...new Set(data.intervals.map((each) => each.series))];
    const items = names.map((name, at) => make("span", { class: "key" }, swatch(at % COLORS, ""), make("span", { dir: "auto" }, name)));
    return make("div", { class: "keys" }, ...items);
  }

  const nameOf = (line) => (line.note ? `${line.label} (${line.note})` : line.label);

  // What belongs to one label has one colour: a row and the curve that was published for it.
  function styleOf(data, line) {
    const labels = [...new Set(data.lines.map((each) => each.label))];
    const at = labels.indexOf(line.label);
    return [at % COLORS, (line.dashed ? DASHES : STROKES)[Math.floor(at / COLORS) % STROKES.length]];
  }

  function markOf(data, line) { return swatch(...styleOf(data, line)); }

  function frame(width, height, caption, role) {
    return make("svg:svg", { viewBox: `0 0 ${width} ${height}`, width, height, role, "aria-label": caption });
  }

  function label(x, y, text, anchor, more = {}) {
    return make("svg:text", { x, y, "text-anchor": anchor, ...more }, text);
  }

  function shortened(text, most) {
    const letters = [...text.replace(/\s+/g, " ")];
    return letters.length <= most ? letters.join("") : `${letters.slice(0, most - 1).join("")}…`;
  }

  // ---- forest ----

  function drawForest(data, off, width, caption) {
    const shown = data.intervals.filter((each) => !off.has(each.label));
    const labels = [...new Set(shown.map((each) => each.label))];
    const series = [...new Set(data.intervals.map((each) => each.series))];
    const letters = Math.min(Math.floor(width / 20), Math.max(8, ...labels.map((text) => [...text].length)));
    const left = 16 + letters * 7.2;
    const band = Math.max(28, 14 + 16 * series.length);
    const height = 12 + band * labels.length + 34;
    const svg = frame(width, height, caption, "group");
    const ends = shown.flatMap((each) => [each.low ?? each.value, each.high ?? each.value, each.block_low ?? each.value, each.block_high ?? each.value]);
    const inside = [...ends, 0, ...(data.margin ? [-data.margin, data.margin] : [])];
    const pad = (Math.max(...inside) - Math.min(...inside) || 1) * 0.04;
    const [low, high] = [Math.max(Math.min(...inside) - pad, data.low), Math.min(Math.max(...inside) + pad, data.high)];
    const right = width - 16 - verdictRoom(shown, series, width);
    const x = scale(low, high, left, right);
    const bottom = height - 34;
    if (data.margin) {
      svg.append(make("svg:rect", { class: "margin", x: x(-data.margin), y: 4, width: x(data.margin) - x(-data.margin), height: bottom - 4 }));
    }
    drawXAxis(svg, ticks(low, high, Math.max(4, (right - left) / 70)), x, 4, bottom);
    svg.append(make("svg:line", { class: "zero", x1: x(0), x2: x(0), y1: 4, y2: bottom }));
    labels.forEach((text, row) => {
      const top = 8 + band * row;
      svg.append(label(left - 10, top + band / 2 + 4, shortened(text, letters), "end", { "aria-hidden": "true" }));
      for (const each of shown.filter((one) => one.label === text)) {
        const at = series.indexOf(each.series);
        const y = top + (band * (at + 1)) / (series.length + 1);
        svg.append(intervalMark(each, x, [low, high], y, at, left, right));
        if (right < width - 16) svg.append(label(right + 14, y + 4, each.verdict, "start", { class: "verdict", "aria-hidden": "true" }));
      }
    });
    roveMarks(svg);
    return svg;
  }

  function drawXAxis(svg, at, x, top, bottom) {
    for (const value of at.values) {
      svg.append(make("svg:line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: bottom }));
      svg.append(make("svg:g", { class: "tick", "aria-hidden": "true" }, label(x(value), bottom + 16, written(value, at.digits), "middle")));
    }
  }

  // Room at the right for what the rows come to; none where a plot is narrow, or nothing is known.
  function verdictRoom(shown, series, width) {
    const letters = Math.max(0, ...shown.map((each) => [...each.verdict].length));
    const room = letters * 6.4 + 14;
    return letters && series.length < 3 && room < width * 0.3 ? room : 0;
  }

  function drawSpan(mark, ends, x, [low, high], y, name) {
    const [from, to] = [Math.max(ends[0], low), Math.min(ends[1], high)];
    if (from < to) mark.append(make("svg:line", { class: name, x1: x(from), x2: x(to), y1: y, y2: y }));
  }

  // Towards what lies beyond the axis.
  function arrow(x, y, left, size) {
    return make("svg:path", { class: "arrow", d: `M${x} ${y - size}l${left ? -1.6 * size : 1.6 * size} ${size}l${left ? 1.6 * size : -1.6 * size} ${size}z` });
  }

  function intervalMark(each, x, [low, high], y, series, left, right) {
    const name = [each.label, each.series].filter(Boolean).join(" / ");
    const mark = make("svg:g", { class: `mark-in ${each.null ? "null" : `c${series % COLORS}`}`, role: "img", "aria-label": `${name}: ${each.text}`, "data-tip": `${name}\n${each.text.replaceAll(" · ", "\n")}` });
    mark.append(make("svg:rect", { class: "hit", x: left, y: y - 8, width: right - left, height: 16 }));
    if (each.value < low || each.value > high) {
      const beyond = arrow(each.value < low ? left + 12 : right - 12, y, each.value < low, 6);
      beyond.classList.add("dot");
      mark.append(beyond);
      return mark;
    }
    if (each.block_low !== null) drawSpan(mark, [each.block_low, each.block_high], x, [low, high], y, "block");
    if (each.low !== null) {
      drawSpan(mark, [each.low, each.high], x, [low, high], y, "whisker");
      for (const end of [each.low, each.high]) {
        if (end >= low && end <= high) mark.append(make("svg:line", { class: "whisker", x1: x(end), x2: x(end), y1: y - 4, y2: y + 4 }));
        else mark.append(arrow(x(end < low ? low : high), y, end < low, 4));
      }
    }
    mark.append(make("svg:circle", { class: "dot", cx: x(each.value), cy: y, r: 4.5 }));
    return mark;
  }

  function roveMarks(svg) {
    const marks = [...svg.querySelectorAll(".mark-in")];
    const show = (mark) => showTip(mark.dataset.tip, mark.querySelector(".dot").getBoundingClientRect());
    marks.forEach((mark, at) => {
      mark.setAttribute("tabindex", at ? -1 : 0);
      onPointer(mark, "mouseenter", () => show(mark));
      onPointer(mark, "mouseleave", hideTip);
      mark.addEventListener("focus", () => show(mark));
      mark.addEventListener("blur", hideTip);
      mark.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = marks[at + step];
        if (!next) return;
        mark.setAttribute("tabindex", -1);
        next.setAttribute("tabindex", 0);
        next.focus();
      });
    });
  }

  // ---- curves ----

  function drawCurves(data, off, width, caption) {
    const lines = data.lines.filter((line) => !off.has(nameOf(line)));
    const height = Math.round(Math.min(420, Math.max(260, width * 0.45)));
    const svg = frame(width, height, `${caption}. Left and right arrow keys move along the epochs.`, "img");
    if (!lines.length) return svg;
    const epochs = [...new Set(lines.flatMap((line) => line.epochs))].sort((a, b) => a - b);
    const values = lines.flatMap((line) => line.mean.flatMap((mean, at) => mean === null ? [] : [mean - (line.sd[at] ?? 0), mean + (line.sd[at] ?? 0)]));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const pad = (high - low || Math.abs(high) || 1) * 0.05;
    const levels = ticks(low - pad, high + pad, 6);
    const left = 20 + 7.5 * Math.max(...levels.values.map((value) => written(value, levels.digits).length));
    const bottom = height - 40;
    const x = scale(epochs[0], epochs[epochs.length - 1], left, width - 16);
    const y = scale(low - pad, high + pad, bottom, 8);
    for (const value of levels.values) {
      svg.append(make("svg:line", { class: "grid", x1: left, x2: width - 16, y1: y(value), y2: y(value) }));
      svg.append(make("svg:g", { class: "tick" }, label(left - 8, y(value) + 4, written(value, levels.digits), "end")));
    }
    const spread = ticks(epochs[0], epochs[epochs.length - 1], width / 90).values.filter(Number.isInteger);
    for (const value of spread) svg.append(make("svg:g", { class: "tick" }, label(x(value), bottom + 16, String(value), "middle")));
    svg.append(label((left + width) / 2, height - 6, "epoch", "middle", { class: "unit" }));
    for (const line of lines) svg.append(drawLine(data, line, x, y));
    follow(svg, data, lines, epochs, x, bottom, width);
    return svg;
  }

  function drawLine(data, line, x, y) {
    const [color, stroke] = styleOf(data, line);
    const known = line.mean.map((mean, at) => [line.epochs[at], mean, line.sd[at] ?? null]).filter(([, mean]) => mean !== null);
    const group = make("svg:g", { class: `c${color}` });
    const point = ([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`;
    if (known.length > 1 && known.every(([, , sd]) => sd !== null)) {
      const upper = known.map(([epoch, mean, sd]) => point([epoch, mean + sd]));
      const lower = known.map(([epoch, mean, sd]) => point([epoch, mean - sd])).reverse();
      group.append(make("svg:polygon", { class: "band", points: [...upper, ...lower].join(" ") }));
    }
    const path = make("svg:polyline", { class: "line", points: known.map(point).join(" ") });
    if (stroke) path.setAttribute("stroke-dasharray", stroke);
    group.append(path);
    if (known.length === 1) group.append(make("svg:circle", { class: "dot", cx: x(known[0][0]), cy: y(known[0][1]), r: 3 }));
    return group;
  }

  function follow(svg, data, lines, epochs, x, bottom, width) {
    const cursor = make("svg:line", { class: "cursor", y1: 8, y2: bottom, visibility: "hidden" });
    svg.append(cursor);
    let at = epochs.length - 1;
    const show = (loud) => {
      const epoch = epochs[at];
      cursor.setAttribute("x1", x(epoch));
      cursor.setAttribute("x2", x(epoch));
      cursor.setAttribute("visibility", "visible");
      const text = textAt(data, lines, epoch);
      const box = svg.getBoundingClientRect();
      const spot = box.left + (x(epoch) / width) * box.width;
      tip.textContent = text; // its width decides on which side of the cursor it has room
      tip.hidden = false;
      const away = tip.offsetWidth / 2 + 16;
      const middle = spot > box.left + box.width / 2 ? spot - away : spot + away;
      showTip(text, { left: middle, width: 0, bottom: box.top, top: box.top });
      if (loud) voice.textContent = text;
    };
    const leave = () => { cursor.setAttribute("visibility", "hidden"); hideTip(); };
    onPointer(svg, "pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const here = ((event.clientX - box.left) / box.width) * width;
      at = epochs.reduce((best, epoch, i) => Math.abs(x(epoch) - here) < Math.abs(x(epochs[best]) - here) ? i : best, 0);
      show(false);
    });
    onPointer(svg, "pointerleave", leave);
    svg.setAttribute("tabindex", 0);
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) show(true); });
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: epochs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      at = Math.max(0, Math.min(epochs.length - 1, to));
      show(true);
    });
  }

  function textAt(data, lines, epoch) {
    const found = [];
    for (const line of lines) {
      const at = line.epochs.indexOf(epoch);
      if (at < 0 || line.mean[at] === null) continue;
      const sd = line.sd[at] == null ? "" : ` ± ${written(line.sd[at], data.digits)}`;
      found.push([line.mean[at], `${written(line.mean[at], data.digits)}${sd}\u2002${shortened(nameOf(line), 48)}`]);
    }
    found.sort(([a], [b]) => b - a);
    const texts = found.slice(0, MOST_IN_TIP).map(([, text]) => text);
    const more = found.length > MOST_IN_TIP ? [`and ${found.length - MOST_IN_TIP} more`] : [];
    return [`epoch ${epoch}`, ...texts, ...more].join("\n");
  }

  // ---- a live database ----

  function watch(controls) {
    const sign = make("span", { class: "live" }, "live");
    controls.prepend(sign);
    let state = document.body.dataset.live;
    setInterval(async () => {
      if (document.hidden) return;
      try {
        const answer = await fetch(document.body.dataset.watch, { cache: "no-store" });
        const now = (await answer.json()).state;
        if (now !== state && (await refresh())) state = now;
        sign.className = "live";
        sign.textContent = "live";
      } catch {
        sign.className = "live away";
        sign.textContent = "not reachable";
      }
    }, POLL_MS);
  }

  async function refresh() {
    const answer = await fetch(location.pathname, { cache: "no-store" });
    if (!answer.ok) return false;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = [...document.querySelectorAll("main details")].map((each) => each.open);
    const focused = pathTo(document.activeElement);
    hideTip();
    document.getElementById("main").replaceChildren(...page.getElementById("main").childNodes);
    const details = [...document.querySelectorAll("main details")];
    if (details.length === open.length) details.forEach((each, at) => { each.open = open[at]; });
    enliven();
    if (focused) document.querySelector(focused)?.focus({ preventScroll: true });
    return true;
  }

  // Where an element stands, as a selector that finds its successor in the later page.
  function pathTo(element) {
    const steps = [];
    for (let node = element; node && node !== document.body; node = node.parentElement) {
      if (node.id) return [`#${CSS.escape(node.id)}`, ...steps].join(" > ");
      steps.unshift(`${node.localName}:nth-child(${[...node.parentElement.children].indexOf(node) + 1})`);
    }
    return "";
  }

  // ---- all of it ----

  function enliven() {
    document.querySelectorAll("table.sortable, .sweep-table table").forEach((table, at) => {
      table.id ||= `sortable-${at}`;
      makeSortable(table);
    });
    document.querySelectorAll(".sweep-table table").forEach(makeSeedsKnown);
    document.querySelectorAll("figure.plot").forEach(drawPlot);
  }

  document.body.append(tip, voice);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  const controls = document.querySelector(".controls");
  addTheme(controls);
  enliven();
  if (document.body.dataset.live) watch(controls);
})();
