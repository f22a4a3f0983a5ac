// Draws the plots of a report with uPlot: the page's data says what they are, this how they look.
// Colours come from the page's style, so that a change between light and dark redraws them.
"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const places = [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6];
  const dashes = [[], [7, 4], [2, 3], [10, 3, 2, 3]];
  const drawn = new Map();

  // A custom property reads as it was written; an element's own colour reads as it came out.
  const probe = document.createElement("span");
  document.body.append(probe);
  function colour(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }

  function number(value) {
    const size = Math.abs(value);
    const digits = size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    return value.toLocaleString("en-US", { maximumFractionDigits: digits });
  }

  function digits(text) {
    return text?.length ?? 0;
  }

  // 1 / (1 - share) is what the axis of nines is logarithmic in.
  function percentile(nines) {
    const digits = Math.min(6, Math.max(0, Math.ceil(Math.log10(nines)) - 1));
    return `${Number((100 - 100 / nines).toFixed(digits))} %`;
  }

  function place(plot, value) {
    return plot.x_kind === "nines" ? `${percentile(value)} or less` : `${number(value)} s`;
  }

  function axis(label, more) {
    return {
      label,
      labelSize: 22,
      labelFont: "12px system-ui, sans-serif",
      font: "12px system-ui, sans-serif",
      stroke: colour("faint"),
      grid: { stroke: colour("grid"), width: 1 },
      ticks: { stroke: colour("grid"), width: 1, size: 5 },
      ...more,
    };
  }

  function nearest(values, index) {
    for (let far = 0; far < values.length; far++) {
      if (values[index - far] != null) return index - far;
      if (values[index + far] != null) return index + far;
    }
    return null;
  }

  function swatch(line) {
    const dash = dashes[line.dash % dashes.length].join(" ");
    const look = `stroke="var(--c${line.colour})" stroke-width="2.5" stroke-dasharray="${dash}"`;
    return `<svg viewBox="0 0 26 10" aria-hidden="true"><path d="M0 5H26" ${look}/></svg>`;
  }

  function tip(plot) {
    const box = document.createElement("div");
    box.className = "tip";
    box.hidden = true;
    return {
      hooks: {
        init: (u) => u.over.append(box),
        setCursor: (u) => {
          const { idx, idxs, left, top } = u.cursor;
          box.hidden = idx == null || left < 0 || !u.over.matches(":hover");
          if (box.hidden) return;
          const table = document.createElement("table");
          plot.lines.forEach((line, n) => {
            const at = idxs[n + 1];
            if (!u.series[n + 1].show || at == null) return;
            const row = table.insertRow();
            row.insertCell().innerHTML = swatch(line).replace("<svg", '<svg width="20" height="8"');
            row.insertCell().textContent = line.label;
            row.insertCell().textContent = number(u.data[n + 1][at]);
          });
          const head = document.createElement("b");
          head.textContent = place(plot, u.data[0][idx]);
          const unit = document.createTextNode(`, ${plot.y_label}`);
          box.replaceChildren(head, unit, table);
          const { width, height } = u.over.getBoundingClientRect();
          const right = left + 16;
          const beside = right + box.offsetWidth > width ? left - 16 - box.offsetWidth : right;
          box.style.left = `${Math.max(-40, beside)}px`;
          box.style.top = `${Math.max(0, Math.min(top, height - box.offsetHeight))}px`;
        },
      },
    };
  }

  function options(plot, size) {
    const nines = plot.x_kind === "nines";
    const log = plot.y_kind === "log";
    const last = plot.x[plot.x.length - 1];
    return {
      ...size,
      legend: { show: false },
      plugins: [tip(plot)],
      padding: [12, 14, 0, 0],
      cursor: {
        y: false,
        points: { size: 7 },
        dataIdx: (u, series, index) => (series ? nearest(u.data[series], index) : index),
        ...(!nines && { sync: { key: "seconds", setSeries: false } }),
      },
      scales: {
        x: { time: false, ...(nines && { distr: 3, range: () => [1, Math.max(last, 10)] }) },
        y: log
          ? { distr: 3, range: (u, min, max) => uPlot.rangeLog(min || 1, max || 10, 10, false) }
          : { range: (u, min, max) => [0, (max || 1) * 1.08] },
      },
      axes: [
        axis(plot.x_label, {
          size: 34,
          ...(nines && {
            space: 10,
            // On a telephone the half has no room beside the begin.
            splits: (u, n, min, max) =>
              places.filter((each) => each <= max && (each !== 2 || u.width > 480)),
            filter: (u, splits) => splits,
            values: (u, splits) => splits.map(percentile),
          }),
        }),
        axis(plot.y_label, {
          values: (u, splits) => splits.map((each) => (each == null ? null : number(each))),
          // The longest of its numbers decides how wide an axis is.
          size: (u, values) => 14 + 7 * Math.max(3, ...(values ?? []).map(digits)),
        }),
      ],
      series: [
        {},
        ...plot.lines.map((line) => ({
          label: line.label,
          stroke: colour(`c${line.colour}`),
          width: line.dash ? 1.5 : 2,
          dash: dashes[line.dash % dashes.length],
          spanGaps: true,
          points: { show: plot.x.length < 3 },
        })),
      ],
    };
  }

  function draw(plot) {
    const figure = document.getElementById(`plot-${plot.name}`);
    const canvas = figure.querySelector(".canvas");
    const before = drawn.get(plot.name);
    const shown = before ? before.series.map((each) => each.show) : [];
    before?.destroy();
    const size = { width: canvas.clientWidth, height: canvas.clientHeight };
    const data = [plot.x, ...plot.lines.map((each) => each.values)];
    const u = new uPlot(options(plot, size), data, canvas);
    shown.forEach((show, n) => n && !show && u.setSeries(n, { show }));
    drawn.set(plot.name, u);
  }

  function legend(plot) {
    const figure = document.getElementById(`plot-${plot.name}`);
    figure.hidden = false;
    const list = figure.querySelector(".legend");
    plot.lines.forEach((line, n) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.innerHTML = swatch(line);
      button.append(line.label);
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") === "false";
        button.setAttribute("aria-pressed", String(show));
        drawn.get(plot.name).setSeries(n + 1, { show });
      });
      list.append(button);
    });
  }

  document.getElementById("unscripted").hidden = true;
  plots.forEach(legend);
  plots.forEach(draw);
  function fit(canvas) {
    const u = drawn.get(canvas.closest("figure").id.replace("plot-", ""));
    const { clientWidth: width, clientHeight: height } = canvas;
    if (u.width !== width) u.setSize({ width, height });
  }

  // In the next frame: whoever changes sizes while they are told of makes the browser complain.
  const resized = new ResizeObserver((entries) => {
    requestAnimationFrame(() => entries.forEach(({ target }) => fit(target)));
  });
  for (const plot of plots) resized.observe(document.querySelector(`#plot-${plot.name} .canvas`));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));
})();
