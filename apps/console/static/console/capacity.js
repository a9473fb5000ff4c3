// The capacity page and tile: one websocket, rows that change where their figures do. No figure is asked for: all are sent.
"use strict";

(() => {
  const STALE_MS = 10_000; // Something comes every five seconds, if only to say that nothing changed.
  const RETRY_MS = [500, 8_000];
  const COME_BACK = 4000;
  const FULL = 4001;

  const make = (name, className, text) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
  const number = (value) => value.toLocaleString("en-US");
  const duration = (ms) => (ms < 1_000 ? `${ms} ms` : `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`);
  const words = (counts) =>
    Object.entries(counts).sort((one, other) => other[1] - one[1]).map(([code, count]) => `${code} ${number(count)}`).join(", ");

  function percentiles(values, show) {
    if (values.p50 === null) return "–";
    return [values.p50, values.p95, values.p99].map(show).join(" / ");
  }

  function cell(label, text, { codes, className, isIdle } = {}) {
    const node = make("td", className);
    node.dataset.label = label;
    if (isIdle) node.dataset.idle = "";
    node.append(make("span", isIdle ? "idle" : "", text));
    if (codes) node.append(make("span", "codes", codes));
    return node;
  }

  function useCell(label, use) {
    const node = cell(label, use.limit === null ? number(use.used) : `${number(use.used)} of ${number(use.limit)}`, { isIdle: !use.used });
    if (use.limit) {
      const share = Math.min(1, use.used / use.limit);
      const bar = make("span", share === 1 ? "use full" : "use");
      const fill = make("span");
      fill.style.width = `${Math.round(share * 100)}%`;
      bar.append(fill);
      node.append(bar);
    }
    return node;
  }

  function figures(period) {
    const shed = sum(period.shed);
    const attempts = sum(period.attempts_failed);
    const errors = [words(period.errors), attempts ? `attempts: ${words(period.attempts_failed)}` : ""].filter(Boolean).join("; ");
    return [
      cell("Calls", number(period.calls), { isIdle: !period.calls, codes: period.abandoned ? `abandoned ${number(period.abandoned)}` : "" }),
      cell("Failed", period.failed ? `${number(period.failed)} (${period.error_percent} %)` : "0", { className: period.failed ? "bad" : "", codes: errors, isIdle: !period.failed && !errors }),
      cell("Shed", number(shed), { className: shed ? "warn" : "", codes: words(period.shed), isIdle: !shed }),
      cell("Wait", percentiles(period.wait_ms, duration), { isIdle: period.wait_ms.p50 === null }),
      cell("First byte", percentiles(period.first_byte_ms, duration), { isIdle: period.first_byte_ms.p50 === null }),
      cell("Tokens per s", percentiles(period.output_tokens_per_s, number), { isIdle: period.output_tokens_per_s.p50 === null }),
    ];
  }

  function heading(name, detail, circuit) {
    const node = make("th");
    node.scope = "row";
    node.append(make("span", "name", name));
    if (circuit !== "closed") node.append(make("span", `circuit ${circuit === "open" ? "bad" : "warn"}`, `circuit ${circuit.replace("_", "-")}`));
    if (detail) node.append(make("small", "", detail));
    return node;
  }

  function modelRows(model, period) {
    const row = make("tr", "model");
    row.dataset.model = model.model;
    row.append(heading(model.name, model.model, model.circuit), useCell("In flight", model.in_flight), useCell("Queued", model.queued), ...figures(model[period]));
    // One route says what its model does, unless it is in trouble.
    const shown = model.routes.length > 1 || model.routes.some((route) => route.circuit !== "closed") ? model.routes : [];
    return [row, ...shown.map((route) => routeRow(route, period))];
  }

  function routeRow(route, period) {
    const row = make("tr", "route");
    row.dataset.route = route.route;
    row.append(
      heading(route.provider, route.upstream_model, route.circuit),
      cell("In flight", number(route.in_flight), { isIdle: !route.in_flight }),
      cell("Queued", "", { isIdle: true }),
      ...figures(route[period]),
    );
    return row;
  }

  function sums(capacity, period) {
    const all = capacity[period];
    const facts = [
      ["In flight", number(capacity.in_flight), ""],
      ["Queued", number(capacity.queued), ""],
      ["Calls", number(all.calls), ""],
      ["Failed", `${all.error_percent} %`, words(all.errors)],
      ["Shed", number(sum(all.shed)), words(all.shed)],
      ["First byte, p95", all.first_byte_ms.p95 === null ? "–" : duration(all.first_byte_ms.p95), ""],
    ];
    return facts.map(([name, value, codes]) => {
      const node = make("span");
      node.dataset.sum = name;
      node.append(make("span", "name", name), make("span", "value", value));
      if (codes) node.append(make("small", "", codes));
      return node;
    });
  }

  class View {
    constructor(root) {
      this.root = root;
      this.period = "minute";
      this.part = (name) => root.querySelector(`[data-part="${name}"]`);
      for (const button of root.querySelectorAll("[data-period]")) {
        button.addEventListener("click", () => this.choose(button));
      }
    }

    choose(button) {
      this.period = button.dataset.period;
      for (const each of this.root.querySelectorAll("[data-period]")) each.setAttribute("aria-pressed", String(each === button));
      if (this.models) this.show(this.capacity, [...this.models.values()]);
    }

    state(name, text) {
      if (this.root.dataset.state !== name) this.root.dataset.state = name;
      const node = this.part("state");
      if (node.textContent !== text) node.textContent = text;
    }

    all(capacity) {
      this.models = new Map(capacity.models.map((model) => [model.model, model]));
      this.part("rows")?.replaceChildren();
      this.show(capacity, capacity.models);
    }

    changes(capacity) {
      for (const model of capacity.models) this.models.set(model.model, model);
      this.show(capacity, capacity.models);
    }

    show(capacity, models) {
      this.capacity = capacity;
      this.part("sums").replaceChildren(...sums(capacity, this.period));
      const rows = this.part("rows");
      if (rows) for (const model of models) this.place(rows, model);
    }

    /** Put a model's rows where its old ones are, or at the end. */
    place(rows, model) {
      const fresh = modelRows(model, this.period);
      const old = rows.querySelector(`tr.model[data-model="${CSS.escape(model.model)}"]`);
      if (!old) {
        rows.append(...fresh);
        return;
      }
      while (old.nextElementSibling?.matches("tr.route")) old.nextElementSibling.remove();
      old.replaceWith(...fresh);
    }
  }

  function connect(view) {
    let retryMs = RETRY_MS[0];
    let stale;
    const isAlive = () => {
      clearTimeout(stale);
      stale = setTimeout(() => view.state("stale", "No news for ten seconds: these figures are old"), STALE_MS);
      const { processes, is_complete: isComplete } = view.capacity ?? { processes: 0, is_complete: true };
      if (isComplete) view.state("live", processes === 1 ? "Live" : `Live, ${processes} processes`);
      else view.state("partial", "Live, of one process only: Redis is away");
    };
    const open = () => {
      const socket = new WebSocket(new URL(view.root.dataset.socket, location.href.replace(/^http/, "ws")));
      socket.addEventListener("message", (event) => {
        const message = JSON.parse(event.data);
        retryMs = RETRY_MS[0];
        if (message.kind !== "same") view[message.kind](message.capacity);
        isAlive();
      });
      socket.addEventListener("close", (event) => {
        clearTimeout(stale);
        if (event.code === COME_BACK) return void setTimeout(open, 0);
        view.state("stale", event.code === FULL ? "Too many people are looking; trying again" : "Not connected; trying again");
        setTimeout(open, retryMs * (0.5 + Math.random() / 2));
        retryMs = Math.min(retryMs * 2, RETRY_MS[1]);
      });
      addEventListener("pagehide", () => socket.close(), { once: true });
    };
    open();
  }

  for (const root of document.querySelectorAll("[data-capacity]")) connect(new View(root));
})();
