// Moves the page's interactive charts: draws the frame that the controls choose, says it in words, and lists its numbers.
"use strict";

// Numbers as people write them: so many significant digits, a true minus, powers of ten outside of 0.001 to a million.
function text(x, digits = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x), sign = x < 0 ? "−" : "";
  if (size < 1e-3 || size >= 1e6) {
    const [mantissa, power] = size.toExponential(digits - 1).split("e");
    const raised = Array.from(String(Number(power)), (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");
    return `${sign}${Number(mantissa)}\u00a0×\u00a010${raised}`;
  }
  return sign + (Number.isInteger(size) ? size : Number(size.toPrecision(digits))).toLocaleString("en", { maximumFractionDigits: 10 });
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.append(...children);
  return made;
}

const colour = (name) => `var(--${name})`;
const linear = (from, to) => (x) => to[0] + ((x - from[0]) / (from[1] - from[0])) * (to[1] - to[0]);
const symlog = (x) => Math.sign(x) * (Math.abs(x) < 1 ? Math.abs(x) : 1 + Math.log(Math.abs(x)));

// About so many round numbers in a range.
function ticksOf([low, high], count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// A drawing with a title, a frame and labelled axes; charts add their marks to it.
class Plot {
  constructor(container, { title, xlabel, ylabel }, height, left = 46) {
    this.width = container.clientWidth || 300;
    this.height = height;
    this.x = [left, this.width - 16];
    this.y = [height - (xlabel ? 38 : 22), title ? 26 : ylabel ? 24 : 8];
    this.svg = svg("svg", { width: this.width, height, viewBox: `0 0 ${this.width} ${height}`, "aria-hidden": "true" });
    if (title) this.label(0, 12, title);
    if (xlabel) this.label((this.x[0] + this.x[1]) / 2, height - 4, xlabel, "middle");
    if (ylabel) this.label(0, 12, ylabel);
    container.replaceChildren(this.svg);
  }
  label(x, y, words, anchor = "start", extra = {}) {
    this.svg.append(svg("text", { x, y, "text-anchor": anchor, ...extra }, words));
  }
  mark(tag, attributes, words) {
    const made = svg(tag, attributes);
    if (words) made.append(svg("title", {}, words));
    this.svg.append(made);
    return made;
  }
  // Ticks with lines across the plot.
  ticksY(values, scale, name = text) {
    values.forEach((value) => {
      const y = scale(value);
      this.mark("line", { x1: this.x[0], x2: this.x[1], y1: y, y2: y, class: value === 0 ? "zero" : "grid" });
      this.label(this.x[0] - 5, y + 4, name(value), "end");
    });
  }
  ticksX(values, scale, name = text) {
    values.forEach((value) => this.label(scale(value), this.y[0] + 16, name(value), "middle"));
  }
}

const draw = {
  // A bar for each row, from zero.
  bars(container, chart, rows) {
    const plot = new Plot(container, chart, 190);
    const bend = chart.symlog ? symlog : (x) => x;
    const position = linear(chart.domain.map(bend), plot.y);
    const scale = (value) => position(bend(value));
    const slot = (plot.x[1] - plot.x[0]) / rows.length;
    plot.ticksY(chart.ticks, scale);
    rows.forEach((row, i) => {
      const [from, to] = [scale(0), scale(row[chart.y])].sort((a, b) => a - b);
      plot.mark("rect", { x: plot.x[0] + i * slot + 1, width: Math.max(slot - 2, slot / 2), y: from, height: Math.max(to - from, 0.5), fill: colour(chart.colour), "data-value": row[chart.y] },
        `${chart.x} ${row[chart.x]}: ${text(row[chart.y])}`);
      if ((i + 1) % Math.ceil(rows.length / 5) === 0 || i === 0) plot.label(plot.x[0] + (i + 0.5) * slot, plot.y[0] + 16, row[chart.x], "middle");
    });
    plot.label(0, plot.y[0] + 16, chart.x);
    if (chart.rule) {
      const y = scale(rows[0][chart.rule]);
      plot.mark("line", { x1: plot.x[0], x2: plot.x[1], y1: y, y2: y, class: "rule" });
      plot.label(plot.x[1], y < plot.y[1] + 16 ? y + 14 : y - 5, `${chart.rule_label}: ${text(rows[0][chart.rule])}`, "end", { class: "on" });
    }
  },

  // A cell for each row, the zone outlined, and the cell that the controls choose.
  map(container, chart, rows, explorer) {
    const columns = [...new Set(rows.map((row) => row.dimension))], lines = [...new Set(rows.map((row) => row.exponent))];
    const plot = new Plot(container, chart, 380, 52);
    plot.y[0] -= 6;
    const place = (i, of, [from, to]) => Math.round(from + (i / of) * (to - from));
    const x = (i) => place(i, columns.length, plot.x), y = (j) => place(j, lines.length, [plot.y[1], plot.y[0]]);
    const at = (i, j) => rows[i * lines.length + j];
    const edges = [], dots = [];
    const inside = (i, j) => at(i, j)?.zone === "inside" && j >= 0 && j < lines.length;
    columns.forEach((dimension, i) => lines.forEach((exponent, j) => {
      const row = at(i, j), box = { x: x(i), y: y(j), width: x(i + 1) - x(i), height: y(j + 1) - y(j) };
      const cell = plot.mark("rect", { ...box, fill: shade(row.value, chart.colours), "data-cell": `${dimension} ${exponent}`, "shape-rendering": "crispEdges" }, explorer.read(row));
      cell.addEventListener("click", () => explorer.choose({ [chart.sets.x]: i, [chart.sets.y]: j }));
      if (row.zone === "undecided") dots.push([(x(i) + x(i + 1)) / 2, (y(j) + y(j + 1)) / 2]);
      if (!inside(i, j)) return;
      if (!inside(i - 1, j)) edges.push(`M${x(i)} ${y(j)}V${y(j + 1)}`);
      if (!inside(i + 1, j)) edges.push(`M${x(i + 1)} ${y(j)}V${y(j + 1)}`);
      if (!inside(i, j - 1)) edges.push(`M${x(i)} ${y(j)}H${x(i + 1)}`);
      if (!inside(i, j + 1)) edges.push(`M${x(i)} ${y(j + 1)}H${x(i + 1)}`);
    }));
    ["cased", "edge"].forEach((kind) => plot.mark("path", { d: edges.join(""), class: kind }));
    dots.forEach(([cx, cy]) => plot.mark("circle", { cx, cy, r: 2.5, class: "undecided" }));
    columns.forEach((dimension, i) => {
      const every = Math.ceil((40 * columns.length) / (plot.x[1] - plot.x[0]));
      if (i % every === 0) plot.label((x(i) + x(i + 1)) / 2, plot.y[0] + 16, dimension.toLocaleString("en"), "middle");
    });
    Object.entries(chart.marks).forEach(([exponent, name]) => {
      const j = lines.findIndex((line) => Math.abs(line - Number(exponent)) < 1e-4);
      plot.label(plot.x[0] - 6, (y(j) + y(j + 1)) / 2 + 4, name, "end");
    });
    const shown = rows.findIndex((row) => row.read), i = Math.floor(shown / lines.length), j = shown % lines.length;
    const chosen = { x: x(i), y: y(j), width: x(i + 1) - x(i), height: y(j + 1) - y(j) };
    ["cased", "chosen"].forEach((kind) => plot.mark("rect", { ...chosen, class: kind }));
    chart.colours.forEach((fill, k) => plot.mark("rect", { x: plot.x[1] - 110 + k * 10, y: 3, width: 10.5, height: 11, fill }));
    plot.label(plot.x[1] - 116, 12, "0", "end");
    plot.label(plot.x[1] - 16, 12, "1");
  },

  // Median, quartiles and the 5-95 % range of each row; extremes lie beyond the axis, and the sentence tells them.
  ranges(container, chart, rows) {
    const banded = rows.length && rows[0].banded;
    const plot = new Plot(container, banded ? { ...chart, title: chart.band_label, ylabel: "" } : chart, 320);
    if (!rows.length) return;
    if (plot.width < 600) plot.y[1] += 10; // the places' names stand below the title
    const blocks = [...new Set(rows.map((row) => row.block))];
    const all = [...rows.flatMap((row) => [row.q05, row.q95]), ...(banded ? [0, ...chart.band] : [0])];
    const domain = [Math.min(...all), Math.max(...all)];
    const scale = linear(domain, plot.y);
    const slot = (plot.x[1] - plot.x[0]) / blocks.length;
    if (banded) {
      plot.mark("rect", { x: plot.x[0], width: plot.x[1] - plot.x[0], y: scale(chart.band[1]), height: scale(chart.band[0]) - scale(chart.band[1]), class: "band" });
    }
    plot.ticksY(ticksOf(domain, 6), scale);
    const every = Math.ceil((34 * blocks.length) / (plot.x[1] - plot.x[0]));
    blocks.forEach((block, i) => {
      if (i % every === 0 && (i < blocks.length - every || i === blocks.length - 1)) plot.label(plot.x[0] + (i + 0.5) * slot, plot.y[0] + 16, block, "middle");
    });
    rows.forEach((row) => {
      const here = rows.filter((other) => other.block === row.block);
      const x = plot.x[0] + (blocks.indexOf(row.block) + (here.indexOf(row) + 1) / (here.length + 1)) * slot;
      const stroke = colour(chart.colours[row.place]), words = `block ${row.block}, ${row.place}: median ${text(row.q50)}, 5 to 95 % ${text(row.q05)} to ${text(row.q95)}, extremes ${text(row.min)} and ${text(row.max)}`;
      plot.mark("line", { x1: x, x2: x, y1: scale(row.q05), y2: scale(row.q95), stroke, "stroke-width": 1.2 }, words);
      plot.mark("line", { x1: x, x2: x, y1: scale(row.q25), y2: scale(row.q75), stroke, "stroke-width": Math.min(5, slot / 3) }, words);
      plot.mark("circle", { cx: x, cy: scale(row.q50), r: Math.min(3.5, slot / 4), fill: "var(--panel)", stroke, "data-value": row.q50 }, words);
    });
    let x = plot.x[1];
    const under = plot.width < 600 ? 24 : 12; // room for the title
    [...new Set(rows.map((row) => row.place))].reverse().forEach((place) => {
      plot.label(x, under, `● ${place}`, "end", { style: `fill: ${colour(chart.colours[place])}` });
      x -= 7 * (place.length + 3);
    });
  },

  // Bars between edges, and the rows to compare with as a dashed line.
  histogram(container, chart, rows, explorer, reference) {
    const plot = new Plot(container, chart, 300);
    const top = Math.max(...[...rows, ...reference].map((row) => row[chart.y]), 1e-9);
    const scale = linear([0, top], plot.y), x = linear(chart.domain, plot.x);
    plot.ticksY(ticksOf([0, top], 5), scale);
    plot.ticksX(ticksOf(chart.domain, this.narrow(plot) ? 4 : 8), x);
    rows.forEach((row) => plot.mark("rect", {
      x: x(row[chart.from]), width: x(row[chart.to]) - x(row[chart.from]), y: scale(row[chart.y]), height: scale(0) - scale(row[chart.y]),
      fill: colour(chart.colour), "data-value": row[chart.y],
    }, `from ${text(row[chart.from])} to ${text(row[chart.to])}: ${text(row[chart.y])} %`));
    const steps = reference.map((row) => `V${scale(row[chart.y])}H${x(row[chart.to])}`);
    plot.mark("path", { d: `M${plot.x[0]} ${scale(0)}${steps.join("")}V${scale(0)}`, class: "rule" });
  },
  narrow: (plot) => plot.width < 500,
};

// The colour of a value from 0 to 1, between two of those given.
function shade(value, colours) {
  const at = Math.min(Math.max(value, 0), 1) * (colours.length - 1), i = Math.min(Math.floor(at), colours.length - 2);
  const parts = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  const [low, high] = [parts(colours[i]), parts(colours[i + 1])];
  return `rgb(${low.map((part, k) => Math.round(part + (at - i) * (high[k] - part))).join(" ")})`;
}

// What a chart shows beside the columns it is given, by an explorer's `name`.
const derive = {
  softmax(rows) {
    const largest = Math.max(...rows.map(({ logit }) => logit));
    const powers = rows.map(({ logit }) => Math.exp(logit - largest));
    const sum = powers.reduce((total, power) => total + power);
    return rows.map((row, i) => {
      const probability = powers[i] / sum;
      return { ...row, probability, derivative: probability * (1 - probability) };
    });
  },
  goldilocks_map(rows, { dimension, exponent }) {
    const same = (x, y) => Math.abs(x - y) < 1e-4;
    return rows.map((row) => ({ ...row, read: row.dimension === dimension && same(row.exponent, exponent) }));
  },
};

// One cell of the map in words: what the sentence below it and the hint on it say.
function cellInWords(row) {
  const where = row.zone === "undecided" ? "at the edge of" : row.zone;
  return `At d = ${row.dimension.toLocaleString("en")}, logits times d to the power −${row.exponent.toFixed(3)}: ${row.reading.replace("{}", text(row.value))}, ${where} the Goldilocks zone.`;
}

// A sentence about the rows shown, by an explorer's `name`.
const describe = {
  softmax([row]) {
    const both = (name) => `${text(row[name], 2)} (${text(row[`mean_${name}`], 2)})`;
    return `The largest probability is ${both("largest")}. Of an even softmax's, the loss gradient is ${both("loss_gradient")}, the diagonal ${both("diagonal")}, the Jacobian norm ${both("jacobian")}.`;
  },
  goldilocks_map: (rows) => cellInWords(rows.find((row) => row.read)),
  qkv_histograms([row]) {
    return `σ = ${text(row.sigma)}, excess kurtosis ${text(row.kurtosis)}; ${text(row.beyond)}\u00a0% of the weights lie beyond the axis.`;
  },
  layernorm_by_block(rows) {
    if (!rows.length) return "This model has none.";
    const of = (name) => rows.map((row) => row[name]);
    return `Medians of the norms lie from ${text(Math.min(...of("q50")))} to ${text(Math.max(...of("q50")))}. Single values range from ${text(Math.min(...of("min")))} to ${text(Math.max(...of("max")))}; the axis shows the 5 to 95\u00a0% ranges.`;
  },
};

// A column as values: a list, words by their digits, or bytes in base64 that count in units.
function values(column) {
  if (column === null || typeof column !== "object" || Array.isArray(column)) return column;
  if (column.words) return Array.from(column.digits, (digit) => column.words[digit]);
  return Array.from(atob(column.bytes), (letter) => letter.charCodeAt(0) * column.unit);
}

// Rows of columns; what is no list stands in every row.
function rowsOf(columns) {
  const known = Object.entries(columns).map(([name, column]) => [name, values(column)]);
  const lists = known.filter(([, column]) => Array.isArray(column));
  const length = lists.length ? lists[0][1].length : 0;
  return Array.from({ length }, (_, i) =>
    Object.fromEntries(known.map(([name, column]) => [name, Array.isArray(column) ? column[i] : column])));
}

// A table of the rows shown, without the columns that are the same in all of them.
function fillTable(table, rows) {
  const names = rows.length ? Object.keys(rows[0]).filter((name) => name !== "read" && new Set(rows.map((row) => row[name])).size > 1) : [];
  const line = (cells, tag) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => {
      const made = document.createElement(tag);
      if (tag === "th") made.scope = "col";
      made.textContent = typeof cell === "number" ? text(cell) : (cell ?? "–");
      return made;
    }));
    return row;
  };
  table.tHead.replaceChildren(line(names, "th"));
  table.tBodies[0].replaceChildren(...rows.map((row) => line(names.map((name) => row[name]), "td")));
}

class Explorer {
  constructor(element) {
    this.element = element;
    this.contents = JSON.parse(element.querySelector("script").textContent);
    this.inputs = this.contents.controls.map(({ name }) => element.querySelector(`[name="${name}"]`));
    this.numbers = element.querySelector("details");
    this.inputs.forEach((input) => input.addEventListener("input", () => this.show()));
    this.numbers.addEventListener("toggle", () => this.fillTable());
    this.read = cellInWords;
  }

  start() {
    this.element.hidden = false;
    this.show();
    let width = this.element.clientWidth;
    new ResizeObserver(() => {
      if (this.element.clientWidth !== width) {
        width = this.element.clientWidth;
        this.show();
      }
    }).observe(this.element);
    this.element.dataset.ready = "true";
  }

  // The rows of the frame at a position of each control; `fixed` overrides positions by the controls' names.
  frame(fixed = {}) {
    let index = 0;
    this.contents.controls.forEach(({ name, sets, values: choices }, i) => {
      if (!sets) index = index * choices.length + (fixed[name] ?? Number(this.inputs[i].value));
    });
    const { frames, shared } = this.contents;
    const chosen = Object.entries(frames).map(([name, columns]) => [name, columns[index]]);
    return rowsOf({ ...shared, ...Object.fromEntries(chosen) });
  }

  // Moves controls to positions, by their names.
  choose(positions) {
    this.contents.controls.forEach(({ name }, i) => {
      if (name in positions) this.inputs[i].value = positions[name];
    });
    this.show();
  }

  show() {
    const at = {};
    this.contents.controls.forEach(({ name, sets }, i) => {
      if (sets) at[name] = sets[this.inputs[i].value];
    });
    const { name, reference, charts } = this.contents;
    this.rows = (derive[name] ?? ((rows) => rows))(this.frame(), at);
    const compared = reference ? this.frame(reference) : [];
    this.element.querySelectorAll(".chart").forEach((container, i) => draw[charts[i].kind](container, charts[i], this.rows, this, compared));
    this.describe();
  }

  // Says what is shown: beside the sliders, in a sentence, and as numbers.
  describe() {
    this.contents.controls.forEach(({ values: choices }, i) => {
      const input = this.inputs[i];
      if (input.type !== "range") return;
      input.setAttribute("aria-valuetext", choices[input.value]);
      input.nextElementSibling.value = choices[input.value];
    });
    this.element.querySelector("[aria-live]").textContent = describe[this.contents.name](this.rows);
    this.fillTable();
  }

  fillTable() {
    if (this.numbers.open) fillTable(this.numbers.querySelector("table"), this.rows);
  }
}

// A chart takes the place of its figure; if it can't be drawn, the figure stays.
document.querySelectorAll(".explorer").forEach((element) => {
  try {
    new Explorer(element).start();
    element.parentElement.querySelector("figure").hidden = true;
  } catch (error) {
    element.hidden = true;
    console.error(error);
  }
});

// A link into a closed part opens it, and paper shows what is folded away.
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target && target.closest("details:not([open])");
  if (closed) {
    closed.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", unfold);
addEventListener("beforeprint", () => document.querySelectorAll("details.more").forEach((part) => { part.open = true; }));
unfold();
