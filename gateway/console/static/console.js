// The console's own script. Pages work without it; what it adds is what changes while one looks: it
// follows the node's feed, has htmx ask for the parts of a page that this concerns, and draws.
"use strict";

const BEAT_MS = 2000;
const AWAY_MS = 15 * 60 * 1000; // whoever has not moved for so long is taken to be elsewhere
const UNFED_MS = 10 * 1000; // until somebody who got no feed asks again
const POINTS = 180;
const HEIGHT = 150;
const KEPT = "vitals";

function shown(id, visible) {
  const element = document.getElementById(id);
  if (element) element.hidden = !visible;
}

// ---- what happens at the node

// What somebody is selecting, to copy it, or typing into, is not swapped away.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target } = event.detail;
  const selected = getSelection();
  const copies = selected && !selected.isCollapsed && target.contains(selected.anchorNode);
  const types = document.activeElement.matches("input") && target.contains(document.activeElement);
  if (copies || types) event.detail.shouldSwap = false;
});

document.addEventListener("htmx:afterRequest", (event) => shown("stale", !event.detail.successful));

const main = document.querySelector("main");
let source = null;
let followed = false; // there was a feed before
let unfedUntil = 0;

// A feed takes one of the six connections that a browser has for a host: only a page that somebody
// looks at has one, or the seventh tab would not open.
function follow() {
  if (source || !main.dataset.feed || Date.now() < unfedUntil) return;
  source = new EventSource(`/ops/feed?topics=${encodeURIComponent(main.dataset.feed)}`);
  // It tells what is so from now on, and nothing of what is over: what had happened while the page
  // was hidden or cut off has to be asked for.
  source.addEventListener("open", () => {
    shown("stale", false);
    shown("unfed", false);
    if (followed) beat();
    followed = true;
  });
  for (const kind of Object.keys(PERIODS_MS)) {
    source.addEventListener(kind, (event) => {
      if (kind === "vitals") look(JSON.parse(event.data));
      tell(kind);
    });
  }
  source.addEventListener("end", refused);
  source.addEventListener("error", () => {
    // Refused, and not just interrupted: the browser does not try again by itself.
    if (source && source.readyState === EventSource.CLOSED) refused();
    else shown("stale", true);
  });
}

// There is none for this page, or no session any more, which the beat finds out. The page does as
// lists do meanwhile; figures that stand still must not look as if they were of now.
function refused() {
  leave();
  unfedUntil = Date.now() + UNFED_MS;
  shown("unfed", true);
  for (const element of document.querySelectorAll("[data-vital]")) element.textContent = "–";
  beat();
}

// How often a part of the page may ask because of an event. htmx's own throttle would hold back all
// events of an element for the sake of one, and would miss the last that has happened.
const PERIODS_MS = { vitals: 10_000, quarantine: 1000, actor: 1000 };
const telling = new Map();

function tell(kind) {
  if (telling.has(kind)) {
    telling.set(kind, true);
    return;
  }
  htmx.trigger(document.body, kind);
  telling.set(kind, false);
  setTimeout(() => {
    const again = telling.get(kind);
    telling.delete(kind);
    if (again) tell(kind);
  }, PERIODS_MS[kind]);
}

function leave() {
  if (source) source.close();
  source = null;
}

// Lists have no feed; they are asked for again. It also finds out that a session is over.
function beat() {
  htmx.trigger(document.body, "pulse");
}

let touched = Date.now();
for (const kind of ["pointermove", "keydown", "scroll", "touchstart"]) {
  addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
}

// Nobody looks at a hidden page: it asks for nothing, and its session grows old.
function watch() {
  const away = Date.now() - touched > AWAY_MS;
  shown("pulse", away);
  if (document.hidden || away) {
    leave();
  } else {
    follow();
    if (!source) beat();
  }
}

// ---- the overview's figures and plots

const plots = [];
let seen = [];

function figure(value) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) < 100 ? 1 : 0;
  return new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: digits }).format(value);
}

function duration(ns) {
  if (ns === null || ns === undefined) return "–";
  const [unit, size] = ns >= 1e9 ? ["s", 1e9] : ns >= 1e6 ? ["ms", 1e6] : ["µs", 1e3];
  return `${figure(ns / size)}\u00a0${unit}`;
}

function clock(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 19);
}

// A minute at least, so that the first looks do not fill it.
function span(first, last) {
  const end = last || Date.now() / 1000;
  return [Math.min(first || end, end - 60), end];
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Looks of the last minutes, so that the plots go on after somebody was on another page.
function remembered() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "[]");
    return kept.filter((each) => Date.now() / 1000 - each.at < POINTS * 2);
  } catch {
    return [];
  }
}

function look(vitals) {
  const { currencies, shards, ...figures } = vitals;
  seen.push({ ...figures, at: Date.parse(vitals.at) / 1000 });
  seen = seen.slice(-POINTS);
  sessionStorage.setItem(KEPT, JSON.stringify(seen));
  for (const element of document.querySelectorAll("[data-vital]")) {
    const value = vitals[element.dataset.vital];
    element.textContent = element.dataset.vital.includes("_ns") ? duration(value) : figure(value);
  }
  show();
}

function show() {
  const at = seen.map((each) => each.at);
  for (const { plot, names, size } of plots) {
    const scaled = (each, name) => (each[name] === null ? null : each[name] / size);
    plot.setData([at, ...names.map((name) => seen.map((each) => scaled(each, name)))]);
  }
}

function draw(element) {
  const names = element.dataset.plot.split(",");
  const labels = element.dataset.label.split(",");
  const into = element.querySelector("div");
  const axis = {
    stroke: colour("--faint"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui",
  };
  const line = (_, index) => ({
    label: labels[index],
    stroke: colour(index ? "--second" : "--first"),
    fill: index ? undefined : colour("--wash"),
    width: 1.5,
    points: { show: false },
    spanGaps: true,
    value: (_, value) => figure(value),
  });
  const options = {
    width: into.clientWidth,
    height: HEIGHT,
    cursor: { y: false },
    scales: {
      x: { range: (_, first, last) => span(first, last) },
      y: { range: (_, low, high) => [0, Math.max(1, high * 1.15)] },
    },
    axes: [
      { ...axis, size: 26, space: 90, values: (_, ticks) => ticks.map(clock) },
      { ...axis, size: 46, space: 34, values: (_, ticks) => ticks.map(figure) },
    ],
    series: [
      { label: "UTC", value: (_, value) => (value === null || value === undefined ? "–" : clock(value)) },
      ...names.map(line),
    ],
  };
  const plot = new uPlot(options, [[], ...names.map(() => [])], into);
  plots.push({ plot, names, into, size: Number(element.dataset.size || 1) });
}

function drawAll() {
  for (const { plot } of plots.splice(0)) plot.destroy();
  document.querySelectorAll("[data-plot]").forEach(draw);
  show();
}

if (document.querySelector("[data-plot]")) {
  seen = remembered();
  drawAll();
  addEventListener("resize", () => {
    for (const { plot, into } of plots) plot.setSize({ width: into.clientWidth, height: HEIGHT });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
}

// On a telephone the row of pages is longer than the screen is wide.
const here = document.querySelector(".places [aria-current]");
if (here) here.scrollIntoView({ block: "nearest", inline: "center" });

document.addEventListener("visibilitychange", watch);
setInterval(watch, BEAT_MS);
watch();
