// Draws the pictures of a page from the data in it. A section has cells; a click or the menus choose one of them.
(function () {
  "use strict";
  const json = (id) => JSON.parse(document.getElementById(id).textContent);
  const make = (tag, text, attributes) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    return node;
  };

  // reporting/packing.py
  const unpack = (found) => {
    const text = atob(found.base64), raw = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) raw[i] = text.charCodeAt(i);
    const kind = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[found.bytes];
    return new kind(raw.buffer);
  };

  // as figures.phase.edges: (geometric) midpoints, the ends mirrored
  const edges = (centres, log) => {
    const at = log ? centres.map(Math.log) : centres.slice();
    let found;
    if (at.length === 1) {
      const half = log ? Math.log(2) / 2 : 0.1 * Math.abs(at[0]) || 0.5;
      found = [at[0] - half, at[0] + half];
    } else {
      const middle = at.slice(1).map((value, i) => (value + at[i]) / 2);
      found = [2 * at[0] - middle[0], ...middle, 2 * at[at.length - 1] - middle[middle.length - 1]];
    }
    return log ? found.map(Math.exp) : found;
  };

  const paler = (color, share) => {
    const part = (from) => Math.round(255 - share * (255 - parseInt(color.slice(from, from + 2), 16)));
    return `rgb(${part(1)},${part(3)},${part(5)})`;
  };

  const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const number = (value, digits) => {
    if (value === null || value === undefined) return "none";
    if (typeof value !== "number") return String(value).replace(/_/g, " ");
    const size = Math.abs(value);
    if (value === 0 || (size >= 1e-3 && size < 1e6)) {
      return Number(value.toPrecision(digits || 4)).toLocaleString("en-US", { maximumSignificantDigits: digits || 4 });
    }
    const [mantissa, power] = Number(value.toPrecision(digits || 4)).toExponential().split("e");
    return `${mantissa === "1" ? "" : `${mantissa}·`}10${[...String(Number(power))].map((c) => RAISED[c]).join("")}`;
  };

  const OPTIONS = { actions: false, ast: true, tooltip: { theme: "light" } };
  const pending = [];
  const embed = (host, spec, options) => {
    // the view beside its element, for who looks into it
    const done = vegaEmbed(host, spec, { ...OPTIONS, ...options }).then((result) => (host.view = result.view));
    pending.push(done);
    return done;
  };

  const table = (caption, heads, rows) => {
    const found = make("table"), head = make("tr"), body = make("tbody");
    found.append(make("caption", caption));
    for (const text of heads) head.append(make("th", text, { scope: "col" }));
    found.append(make("thead"), body);
    found.tHead.append(head);
    for (const row of rows) {
      const line = make("tr");
      for (const text of row) line.append(make("td", text));
      body.append(line);
    }
    const box = make("div", undefined, { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
    box.append(found);
    return box;
  };

  const menu = (place, label, options, chosen, change) => {
    const outer = make("label", label), select = make("select");
    options.forEach((text, i) => select.append(make("option", text, { value: i })));
    select.value = chosen;
    select.addEventListener("change", () => change(Number(select.value)));
    outer.append(select);
    place.append(outer);
    return select;
  };

  class Cells {
    constructor(data) {
      Object.assign(this, data);
      for (const field of this.fields) {
        const codes = unpack(field.codes);
        field.at = (i) => (codes[i] ? field.values[codes[i] - 1] : null);
      }
      this.judge(data);
      this.n = this.majority.length;
      this.rates = this.fields[this.fields.length - 1];
      for (const view of this.views) view.panel = unpack(view.panel);
    }
    judge(data) {
      this.outcomes = data.outcomes;
      this.n_outcomes = this.outcomes.length;
      this.counts = unpack(data.counts);
      this.majority = unpack(data.majority);
    }
    seeds(i) {
      let sum = 0;
      for (let k = 0; k < this.n_outcomes; k++) sum += this.counts[i * this.n_outcomes + k];
      return sum;
    }
    share(i, k) { return this.counts[i * this.n_outcomes + k] / this.seeds(i); }
    fill(i) { return paler(this.outcomes[this.majority[i]].color, this.share(i, this.majority[i])); }
    // field and value pairs, then outcomes by share
    rows(i) {
      const found = this.fields.map((field) => [field.label, number(field.at(i))]);
      const order = [...this.outcomes.keys()].filter((k) => this.counts[i * this.n_outcomes + k]);
      order.sort((a, b) => this.share(i, b) - this.share(i, a));
      for (const k of order) {
        const count = this.counts[i * this.n_outcomes + k];
        found.push([this.outcomes[k].name, `${Math.round(100 * this.share(i, k))}% (${count})`]);
      }
      found.push(["seeds", number(this.seeds(i))]);
      return found;
    }
  }

  class Curves {
    constructor(data, cells) {
      Object.assign(this, data);
      this.codes = unpack(data.losses);
      this.of = unpack(data.schedule);
      this.seed = unpack(data.seeds);
      this.end = unpack(data.outcome);
      this.starts = [0];
      for (let i = 0; i < this.n; i++) this.starts.push(this.starts[i] + this.schedules[this.of[i]].length);
      this.firsts = [0];
      for (let i = 0; i < cells.n; i++) this.firsts.push(this.firsts[i] + Math.min(cells.seeds(i), this.per_cell));
    }
    loss(code) {
      const level = this.low + (code - 1) * this.step;
      return this.log ? 10 ** level : level;
    }
    rows(cell, all_outcomes) {
      const found = [];
      for (let i = this.firsts[cell]; i < this.firsts[cell + 1]; i++) {
        const epochs = this.schedules[this.of[i]], outcome = all_outcomes[this.end[i]];
        epochs.forEach((epoch, k) => {
          const code = this.codes[this.starts[i] + k];
          if (!code) return;
          const loss = this.loss(code);
          const text = `seed ${this.seed[i]}: ${outcome.name}\nepoch ${number(epoch, 6)}: loss ${number(loss, 3)}`;
          found.push({ run: i, seed: this.seed[i], outcome: outcome.name, fill: outcome.line, epoch, loss, text });
        });
      }
      for (const row of found) row.dot = found.length > 1500 ? 0 : 0.85;
      return found;
    }
  }

  class Section {
    constructor(root) {
      const data = json(`${root.id}-data`);
      this.root = root;
      this.data = data;
      this.by = data; // what judges: the task where it has outcomes of its own, else the usual ones
      this.cells = new Cells(data.cells);
      this.curves = new Curves(data.curves, this.cells);
      this.part = (name) => root.querySelector(`.${name}`);
      this.view = 0;
      this.shown = 0; // of many panels the one that is drawn
      this.serial = 0;
      this.charts = [];
      if (data.cells.views.length > 1) {
        menu(this.part("layout"), "Against", data.cells.views.map((v) => v.label), 0, (i) => this.layOut(i));
      }
      if (data.usual) {
        const names = ["of its task", "the usual ones, which boundaries are of"];
        menu(this.part("layout"), "Outcomes", names, 0, (i) => this.judge(i));
      }
      this.drawn = null;
      this.part("cells-table").addEventListener("toggle", () => this.tell());
      this.part("curves-table").addEventListener("toggle", () => this.tell());
      this.layOut(0);
    }

    // Colour the same cells and curves by other outcomes.
    judge(which) {
      this.by = which ? this.data.usual : this.data;
      this.cells.judge(this.by.cells);
      this.curves.end = unpack(this.by.curves.outcome);
      this.root.querySelectorAll(".outcomes").forEach((node, i) => { node.hidden = i !== which; });
      this.layOut(this.view, true);
    }

    // Sort the cells of a view into panels and columns.
    layOut(which, kept) {
      this.view = which;
      const view = this.cells.views[which], field = this.cells.fields.find((f) => f.name === view.x);
      this.panels = view.titles.map(() => new Map());
      const values = new Set();
      for (let i = 0; i < this.cells.n; i++) {
        if (!view.panel[i]) continue;
        const x = field.at(i), columns = this.panels[view.panel[i] - 1];
        values.add(x);
        if (!columns.has(x)) columns.set(x, []);
        columns.get(x).push(i);
      }
      this.values = [...values].sort((a, b) => a - b);
      const bounds = edges(this.values, view.log);
      this.boxes = this.panels.map((columns) => {
        const found = [];
        for (const [x, cells] of columns) {
          cells.sort((a, b) => this.cells.rates.at(a) - this.cells.rates.at(b));
          const c = this.values.indexOf(x), ys = edges(cells.map((i) => this.cells.rates.at(i)), true);
          cells.forEach((id, k) => found.push({
            id: String(id), x0: bounds[c], x1: bounds[c + 1], y0: ys[k], y1: ys[k + 1], fill: this.cells.fill(id),
          }));
        }
        return found;
      });
      const first = this.panels[0].get(this.values.find((x) => this.panels[0].has(x)));
      this.draw();
      if (kept) this.choose(this.panel, this.cell);
      else this.choose(0, this.typical(0, first));
    }

    // a cell to begin with: in the middle of the first panel, where seeds disagree if they do
    typical(panel) {
      const columns = [...this.panels[panel].keys()].sort((a, b) => a - b);
      const column = this.panels[panel].get(columns[columns.length >> 1]);
      const mixed = column.filter((i) => this.cells.share(i, this.cells.majority[i]) < 1);
      const from = mixed.length ? mixed : column;
      return from[from.length >> 1];
    }

    draw() {
      const host = this.part("panels"), view = this.cells.views[this.view], drawn = this.by.views[this.view];
      for (const view_of of this.charts) view_of.then((v) => v.finalize());
      host.replaceChildren();
      const many = view.titles.length > this.data.max_panels;
      const panels = many ? [this.shown] : view.titles.map((_, i) => i);
      this.charts = panels.map((panel) => {
        const box = make("div"), chart = make("div", undefined, { class: "chart" });
        if (view.titles.length > 1) box.append(make("h4", view.titles[panel]));
        box.append(chart);
        host.append(box);
        const spec = { ...drawn.spec, description: `${drawn.spec.description} ${view.titles[panel]}`.trim() };
        spec.datasets = { cells: this.boxes[panel], boundaries: drawn.boundaries[panel], selected: [] };
        const done = embed(chart, spec, { renderer: "canvas", tooltip: { formatTooltip: (v, clean) => this.tip(v, clean) } });
        return done.then((made) => {
          made.panel = panel;
          made.addEventListener("click", (event, item) => {
            const id = item && item.datum && item.datum.id;
            if (id !== undefined) this.choose(panel, Number(id));
          });
          return made;
        });
      });
    }

    tip(value, clean) {
      if (!/^\d+$/.test(value)) return clean(value);
      const rows = this.cells.rows(Number(value));
      return `<table>${rows.map(([name, text]) => `<tr><td>${clean(name)}</td><td>${clean(text)}</td></tr>`).join("")}</table>`;
    }

    // Show the curves of a cell, by a click or by the menus.
    choose(panel, cell) {
      const view = this.cells.views[this.view], field = this.cells.fields.find((f) => f.name === view.x);
      const many = view.titles.length > this.data.max_panels;
      this.panel = panel;
      this.cell = cell;
      if (many && this.shown !== panel) {
        this.shown = panel;
        this.draw();
      }
      const columns = this.panels[panel], values = this.values.filter((x) => columns.has(x));
      const column = columns.get(field.at(cell)), place = this.part("cell-menus");
      const near = (cells, rate) => cells.reduce((a, b) => {
        const far = (i) => Math.abs(Math.log(this.cells.rates.at(i) / rate));
        return far(b) < far(a) ? b : a;
      });
      const rate = this.cells.rates.at(cell), menus = [];
      if (view.titles.length > 1) {
        menus.push(["Panel", view.titles, panel, (p) => {
          const there = this.panels[p].get(field.at(cell)) || this.panels[p].values().next().value;
          this.choose(p, near(there, rate));
        }]);
      }
      menus.push([view.label, values.map((x) => number(x)), values.indexOf(field.at(cell)),
        (i) => this.choose(panel, near(columns.get(values[i]), rate))]);
      menus.push(["learning rate", column.map((i) => number(this.cells.rates.at(i))), column.indexOf(cell),
        (i) => this.choose(panel, column[i])]);
      this.menus(place, menus);
      const rows = this.curves.rows(cell, this.by.all_outcomes);
      const shown = Math.min(this.cells.seeds(cell), this.curves.per_cell), all = this.cells.seeds(cell);
      const told = this.cells.rows(cell).map(([name, text]) => `${name} ${text}`).join("; ");
      this.part("chosen").textContent = told + (shown < all ? `; the curves of the first ${shown} are drawn` : "")
        + (rows.length ? "" : "; no loss is finite");
      this.part("chosen").dataset.cell = cell;
      this.lines = rows;
      const serial = ++this.serial;
      this.part("curves").hidden = !rows.length;
      if (rows.length) {
        const spec = { ...this.data.curves_spec, datasets: { curves: rows } };
        this.drawn = this.drawn || embed(this.part("curves"), spec, { renderer: "svg" });
        this.drawn.then((made) => (serial === this.serial ? made.data("curves", rows).runAsync() : undefined))
          .then(() => { this.root.dataset.drawn = cell; });
      }
      for (const chart of this.charts) {
        chart.then((made) => {
          const box = made.panel === panel ? this.boxes[panel].filter((b) => b.id === String(cell)) : [];
          return made.data("selected", box).runAsync();
        });
      }
      this.tell();
    }

    // Menus are refilled and not replaced, so that the one in use keeps the focus.
    menus(place, wanted) {
      if (place.children.length !== wanted.length) {
        place.replaceChildren();
        wanted.forEach(([label]) => menu(place, label, [], 0, () => undefined));
      }
      wanted.forEach(([label, options, chosen, change], i) => {
        const outer = place.children[i], select = outer.querySelector("select");
        outer.firstChild.textContent = label;
        const key = options.join("\n");
        if (select.options_key !== key) {
          select.replaceChildren(...options.map((text, k) => make("option", text, { value: k })));
          select.options_key = key;
        }
        select.value = chosen;
        select.onchange = () => change(Number(select.value));
      });
    }

    // Fill the tables that are open.
    tell() {
      const view = this.cells.views[this.view], field = this.cells.fields.find((f) => f.name === view.x);
      const fill = (part, content) => this.part(part).lastElementChild.replaceChildren(content());
      if (this.part("cells-table").open) {
        fill("cells-table", () => {
          const x = field.at(this.cell), column = this.panels[this.panel].get(x);
          const names = this.cells.outcomes.map((o) => o.name);
          const rows = column.map((i) => [
            number(this.cells.rates.at(i)), ...names.map((_, k) => `${Math.round(100 * this.cells.share(i, k))}%`),
            number(this.cells.seeds(i)),
          ]);
          const where = [view.titles[this.panel], `${view.label} ${number(x)}`].filter(Boolean).join(", ");
          return table(`Share of seeds by outcome at ${where}`, ["learning rate", ...names, "seeds"], rows);
        });
      }
      if (this.part("curves-table").open) {
        fill("curves-table", () => table("Loss of each run by epoch", ["seed", "outcome", "epoch", "loss"],
          this.lines.map((row) => [row.seed, row.outcome, number(row.epoch, 7), number(row.loss, 3)])));
      }
    }
  }

  const sections = [...document.querySelectorAll("section.sweep[data-cells]")].map((root) => new Section(root));
  for (const host of document.querySelectorAll(".chart[data-spec]")) {
    embed(host, json(host.dataset.spec), { renderer: "svg" });
  }
  Promise.all(pending).then(() => { document.documentElement.dataset.ready = sections.length; });
})();
