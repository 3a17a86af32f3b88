// The page: what is shown and chosen, the keys, and the two views, list and problem.

const state = { index: null, shown: [], filter: "all", query: "", sort: { key: "", down: false }, selected: null, open: null, seed: 0, place: 0, raw: false, candidates: [] };
const wide = matchMedia("(min-width: 1000px)");

async function start() {
  setTheme(remembered());
  if (!("DecompressionStream" in window)) return notice("This browser cannot unpack the page's data (no DecompressionStream); a newer one can.");
  state.index = await unpack("index");
  for (const problem of state.index.problems)
    problem.searched = [problem.id, problem.text, problem.reference ?? "", problem.level ?? "", problem.subject ?? "", ...problem.attempts.map((a) => a.answer)].join("\n").toLowerCase();
  overview();
  bind();
  refresh();
  await fromAddress();
  document.body.dataset.ready = "true";
  performance.mark("ready");
}

const notice = (text) => find("overview").prepend(make("p", { class: "notice", role: "alert" }, text));

function overview() {
  const { index } = state;
  find("about").textContent = index.runs.map(aboutRun).join(" | ");
  find("tiles").replaceChildren(...index.tiles.map(tile), ...(index.ends.length ? [endsTile("Candidates ended", index.ends)] : []), ...(index.stops.length ? [endsTile("Problems ended", index.stops)] : []));
  if (index.faults.length) find("faults").replaceChildren(faultList(index.faults));
  curvesFigure(index.curves);
  timesFigure(index.problems);
  find("browse").hidden = !index.problems.length;
}

function aboutRun({ created, config, engine, version }) {
  const model = engine && [engine.model, engine.engine].filter(Boolean).join(" on ");
  const shape = config && `${config.candidates} × ${config.turns}, T = ${config.temperature}`;
  return [shape, model, created?.slice(0, 16).replace("T", " "), version && `sctir ${version}`].filter(Boolean).join(" · ");
}

const tile = ({ name, value, note }) => make("div", { class: "tile" }, make("h2", {}, name), make("p", { class: "value" }, value), make("p", { class: "muted" }, note));

function endsTile(name, counts) {
  const total = sum(counts.map(([, count]) => count));
  const bar = make("span", { class: "votebar", "aria-hidden": "true" }, counts.map(([, count], place) => grown(make("span", { class: `share${Math.min(place, 4)}` }), count)));
  const legend = counts.map(([why, count], place) => make("li", {}, make("span", { class: `key share${Math.min(place, 4)}` }), `${why.replaceAll("_", " ")} `, make("b", {}, count.toLocaleString("en")), make("span", { class: "muted" }, ` ${percent(count / total)}`)));
  return make("div", { class: "tile broad" }, make("h2", {}, name), bar, make("ul", { class: "legend" }, legend));
}

const faultList = (faults) => make("details", { class: "notice", open: faults.length <= 3 }, make("summary", {}, `${plural(faults.length, "fault")} survived`), make("ul", {}, faults.map((fault) => make("li", {}, fault))));

function curvesFigure(curves) {
  const figure = find("curves");
  if (!curves) return void (figure.hidden = true);
  const place = make("div", { class: "picture" });
  figure.replaceChildren(make("figcaption", {}, "maj@k and pass@k, %", make("span", { class: "muted" }, curves.note)), place);
  const [maj, pass] = [curves.maj, curves.pass].map((rows) => percent(rows.at(-1)[0]));
  picture(place, 220, `maj@k and pass@k for k up to ${curves.maj.length}: at the last k ${maj} and ${pass}`, (svg, width, height) => curvePicture(svg, width, height, curves));
}

function timesFigure(problems) {
  const figure = find("times");
  const attempts = problems.flatMap((problem) => problem.attempts.map((attempt) => ({ ...attempt, id: problem.id }))).sort((a, b) => a.block.slice(1) - b.block.slice(1));
  if (!attempts.length) return void (figure.hidden = true);
  const given = attempts.flatMap((attempt) => (attempt.share ? [attempt.share[0]] : []));
  const note = given.length ? `the clock gave ${seconds(Math.min(...given))} to ${seconds(Math.max(...given))} s (dashed, where near)` : "no clock is known";
  const late = attempts.some((attempt) => isLate(attempt)) ? "; red: out of time, or an error" : "";
  const place = make("div", { class: "picture" });
  figure.replaceChildren(make("figcaption", {}, "Seconds a problem", make("span", { class: "muted" }, note + late)), place);
  picture(place, 220, `Seconds for each of ${plural(attempts.length, "result")}; ${note}`, (svg, width, height) => timePicture(svg, width, height, attempts, ({ id }) => open(id)));
}

function refresh() {
  const { problems } = state.index;
  state.shown = listed(problems, state);
  const longest = Math.max(0.1, ...problems.map(of("seconds")));
  const [head, body] = find("list").children;
  head.replaceChildren(headings(state.sort, sortBy));
  body.replaceChildren(...state.shown.map((problem) => row(problem, longest)));
  find("filters").replaceChildren(...filterButtons(problems, state.filter, filterBy));
  find("count").textContent = state.shown.length === problems.length ? plural(problems.length, "problem") : `${state.shown.length} of ${plural(problems.length, "problem")}`;
  if (!state.shown.some(({ id }) => id === state.selected)) state.selected = state.open ?? state.shown[0]?.id ?? null;
  select(state.selected);
}

function sortBy(key) {
  const { sort } = state;
  state.sort = sort.key !== key ? { key, down: false } : sort.down ? { key: "", down: false } : { key, down: true };
  refresh();
  find("list").querySelector(`th.c-${key} button`).focus();
}

function filterBy(name) {
  state.filter = name;
  refresh();
  find("filters").querySelector(`[data-filter="${name}"]`).focus();
}

const rowOf = (id) => [...find("list").tBodies[0].rows].find((element) => element.dataset.id === id);

function select(id, focus = false) {
  state.selected = id;
  for (const element of find("list").tBodies[0].rows) {
    const chosen = element.dataset.id === id;
    element.setAttribute("aria-selected", String(chosen));
    element.tabIndex = chosen ? 0 : -1;
  }
  const chosen = rowOf(id);
  if (focus) chosen?.focus({ preventScroll: true });
  if (focus || state.open) chosen?.scrollIntoView({ block: "nearest" });
}

// Through the list; an opened problem gives way to its neighbour.
function step(by) {
  const at = state.shown.findIndex(({ id }) => id === state.selected);
  const next = state.shown[Math.min(Math.max(at + by, 0), state.shown.length - 1)];
  if (!next) return;
  if (state.open === null) select(next.id, true);
  else open(next.id, document.activeElement?.closest("tbody") ? "row" : "title");
}

async function open(id, focus = "title") {
  const problem = state.index.problems.find((other) => other.id === id);
  if (!problem) return;
  Object.assign(state, { open: id, seed: Math.min(state.seed, problem.attempts.length - 1) });
  document.body.classList.add("open");
  find("problem").hidden = false;
  select(id, focus === "row");
  const address = `#${encodeURIComponent(id)}`;
  if (location.hash !== address) history.pushState(null, "", address);
  await showAttempt();
  if (focus === "title") find("problem-title")?.focus({ preventScroll: true });
  if (state.open === id) window.scrollTo(0, 0);
}

const current = () => {
  const problem = state.index.problems.find(({ id }) => id === state.open);
  return { problem, attempt: problem?.attempts[state.seed] };
};

// Unpacks the attempt's candidates; the one that is shown first voted for the winner, where somebody did.
async function showAttempt() {
  const { problem, attempt } = current();
  const candidates = await unpack(attempt.block);
  if (current().attempt !== attempt) return; // another was opened meanwhile
  const first = attempt.ended.findIndex(([, , place]) => place === 0);
  Object.assign(state, { candidates, place: Math.max(0, first) });
  const act = { close, step, choose, raw: toggleRaw, seed, mark: markChosen };
  find("problem").replaceChildren(...problemView(problem, attempt, state.place, act).filter(Boolean));
  showCandidate();
}

function showCandidate() {
  const candidate = state.candidates[state.place];
  if (!candidate) return;
  find("candidate").replaceChildren(...candidatePanel(candidate, state.place, state.candidates.length, current().problem.reference, state.raw).filter(Boolean));
  find("raw").setAttribute("aria-pressed", String(state.raw));
  markChosen();
}

function markChosen() {
  for (const chip of find("problem").querySelectorAll(".chip")) {
    const chosen = Number(chip.dataset.place) === state.place;
    chip.setAttribute("aria-selected", String(chosen));
    chip.tabIndex = chosen ? 0 : -1;
  }
  for (const cell of find("problem").querySelectorAll("[data-cell]")) cell.classList.toggle("chosen", Number(cell.dataset.cell) === state.place);
}

function choose(place, focus = false) {
  if (!state.candidates.length) return;
  state.place = Math.min(Math.max(place, 0), state.candidates.length - 1);
  showCandidate();
  if (focus) find("problem").querySelector(`.chip[data-place="${state.place}"]`)?.focus({ preventScroll: true });
}

async function seed(place) {
  state.seed = place;
  await showAttempt();
  find("problem").querySelector('.seeds [aria-pressed="true"]')?.focus();
}

function toggleRaw() {
  state.raw = !state.raw;
  showCandidate();
}

function close() {
  state.open = null;
  document.body.classList.remove("open");
  find("problem").hidden = true;
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  select(state.selected, true);
}

async function fromAddress() {
  let id = "";
  try {
    id = decodeURIComponent(location.hash.slice(1));
  } catch {} // no address of ours
  if (id && id !== state.open) await open(id);
  else if (!id && state.open !== null) close();
}

const THEMES = ["auto", "light", "dark"];

function remembered() {
  try {
    return localStorage.getItem("sctir-theme") ?? "auto";
  } catch {
    return "auto"; // a file may have no storage
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  find("theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[name] ?? "Auto";
  find("theme").setAttribute("aria-label", `theme: ${name}`);
  try {
    localStorage.setItem("sctir-theme", name);
  } catch {} // then it holds until the page is closed
}

const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);

function toggleKeys() {
  const shown = find("keys").toggleAttribute("hidden");
  find("keys-button").setAttribute("aria-expanded", String(!shown));
}

const SEARCH = "search";

function escape() {
  if (document.activeElement?.id === SEARCH && find(SEARCH).value) return search("");
  if (!find("keys").hidden) return toggleKeys();
  if (state.open !== null) return close();
  search("");
  select(state.selected, true);
}

function search(text) {
  find(SEARCH).value = text;
  state.query = text;
  refresh();
}

function toSearch() {
  if (state.open !== null && !wide.matches) close();
  find(SEARCH).focus();
  find(SEARCH).select();
}

const nextSeed = () => state.open !== null && current().problem.attempts.length > 1 && seed((state.seed + 1) % current().problem.attempts.length);
const candidateBy = (by) => state.open !== null && choose(state.place + by, document.activeElement?.closest("[role=tab]") !== null);

const KEYS = {
  j: () => step(1), k: () => step(-1), h: () => candidateBy(-1), l: () => candidateBy(1), ArrowLeft: () => candidateBy(-1), ArrowRight: () => candidateBy(1),
  s: nextSeed, r: () => state.open !== null && toggleRaw(), t: nextTheme, "/": toSearch, "?": toggleKeys, Escape: escape,
};

// Up and down scroll an opened problem; in the list they go through it.
const LIST_KEYS = { ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: () => open(state.selected), Home: () => step(-Infinity), End: () => step(Infinity) };
const SEARCH_KEYS = { Escape: escape, ArrowDown: () => select(state.selected, true), Enter: () => state.selected !== null && open(state.selected) };

function actOn(event) {
  const focus = document.activeElement;
  if (focus?.id === SEARCH) return SEARCH_KEYS[event.key];
  const inList = focus === document.body ? state.open === null : focus?.closest("tbody");
  const scrolls = focus?.matches("pre") && event.key.startsWith("Arrow"); // its own text first
  return scrolls ? undefined : (inList && LIST_KEYS[event.key]) || KEYS[event.key];
}

function bind() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = actOn(event);
    if (!act) return;
    event.preventDefault();
    act();
  });
  find(SEARCH).addEventListener("input", (event) => search(event.target.value));
  find("list").tBodies[0].addEventListener("click", (event) => open(event.target.closest("tr").dataset.id));
  find("theme").addEventListener("click", nextTheme);
  find("keys-button").addEventListener("click", toggleKeys);
  addEventListener("popstate", fromAddress);
}

start().catch((error) => notice(`This page's data cannot be read: ${error.message}`));
