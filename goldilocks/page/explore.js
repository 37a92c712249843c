// Moves the page's interactive charts: shows the frame that the controls choose, says it in words, and lists its numbers.
"use strict";

// No menu of actions; expressions are interpreted, not compiled, so that the page may forbid that.
const OPTIONS = { actions: false, ast: true, mode: "vega-lite", renderer: "svg", tooltip: { disableDefaultStyle: true } };

const text = (x, digits = 3) => (x === null || x === undefined || Number.isNaN(x) ? "–" : String(Number(x.toPrecision(digits))));

// What a chart shows beside the columns it is given, by an explorer's `name`.
const derive = {
  softmax(rows, { exponent }) {
    const logits = rows.map((row) => row.product * row.dimension ** -exponent);
    const powers = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
    const sum = powers.reduce((total, power) => total + power);
    return rows.map(({ key }, i) => {
      const probability = powers[i] / sum;
      return { key, logit: logits[i], probability, gradient: probability * (1 - probability) };
    });
  },
  goldilocks_map(rows, { dimension, exponent }) {
    const same = (x, y) => Math.abs(x - y) < 1e-4;
    return rows.map((row) => ({ ...row, read: row.dimension === dimension && same(row.exponent, exponent) }));
  },
};

// A sentence about the rows shown, by an explorer's `name`.
const describe = {
  softmax(rows) {
    const power = (n) => rows.reduce((sum, { probability }) => sum + probability ** n, 0);
    const jacobian = Math.sqrt(Math.max(0, power(2) - 2 * power(3) + power(2) ** 2));
    const spread = Math.sqrt(rows.reduce((sum, { logit }) => sum + logit ** 2, 0) / rows.length);
    const largest = Math.max(...rows.map((row) => row.probability));
    return `Logits of RMS ${text(spread)}: the largest probability is ${text(largest)}, the norm of softmax's Jacobian, its gradient, ${text(jacobian)}.`;
  },
  goldilocks_map(rows) {
    const row = rows.find((cell) => cell.read);
    const where = row.zone === "undecided" ? "at the edge of" : row.zone;
    return `At d = ${row.dimension}, logits times d^-${row.exponent.toFixed(2)}: ${row.quantity} ${text(row.value)}, ${where} the Goldilocks zone.`;
  },
  qkv_histograms([row]) {
    return `σ = ${text(row.sigma)}, excess kurtosis ${text(row.kurtosis)}; ${text(row.beyond)} % of the weights lie beyond the axis.`;
  },
  layernorm_by_block(rows) {
    if (!rows.length) return "This model has none.";
    const median = (row) => row.median;
    const [low, high] = [Math.min(...rows.map(median)), Math.max(...rows.map(median))];
    return `Medians from ${text(low)} to ${text(high)}; extremes ${text(Math.min(...rows.map((row) => row.lowest)))} and ${text(Math.max(...rows.map((row) => row.highest)))}.`;
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

// A table of the rows shown.
function fillTable(table, rows) {
  const names = rows.length ? Object.keys(rows[0]) : [];
  const line = (cells, tag) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => {
      const made = document.createElement(tag);
      if (tag === "th") made.scope = "col";
      made.textContent = typeof cell === "number" ? text(cell, 4) : (cell ?? "–");
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
  }

  async start() {
    this.element.hidden = false;
    const containers = [...this.element.querySelectorAll(".chart")];
    const datasets = this.tables();
    const embedded = containers.map((container, i) => {
      const chart = { ...this.contents.charts[i], datasets, description: container.getAttribute("aria-label") };
      return vegaEmbed(container, chart, OPTIONS);
    });
    this.views = (await Promise.all(embedded)).map(({ view }) => view);
    this.describe();
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

  // What the charts show now: the rows as the controls choose them, and those to compare with.
  tables() {
    const at = {};
    this.contents.controls.forEach(({ name, sets }, i) => {
      if (sets) at[name] = sets[this.inputs[i].value];
    });
    const { name, reference } = this.contents;
    this.rows = (derive[name] ?? ((rows) => rows))(this.frame(), at);
    return { frame: this.rows, ...(reference && { reference: this.frame(reference) }) };
  }

  async show() {
    const tables = this.tables();
    await Promise.all(this.views.map((view) => {
      // Vega writes into the rows it is given, and charts share them
      Object.entries(tables).forEach(([table, rows]) => view.data(table, rows.map((row) => ({ ...row }))));
      return view.runAsync();
    }));
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

// Charts are built when the reader comes near them. On paper, the others keep their figure.
async function start(element) {
  const still = element.parentElement.querySelector("figure");
  try {
    await new Explorer(element).start();
    if (still) still.hidden = true;
  } catch (error) {
    element.hidden = true;
    console.error(error);
  }
}

const near = new IntersectionObserver((entries) => {
  entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
    near.unobserve(target);
    start(target.querySelector(".explorer"));
  });
}, { rootMargin: "600px" });
document.querySelectorAll(".explored").forEach((element) => near.observe(element));

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
