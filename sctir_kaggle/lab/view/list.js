// The list of problems: filtered, searched, sorted; one row is the selected one.

const some = (test) => (problem) => problem.attempts.some(test);

const FILTERS = {
  all: () => true,
  right: some((attempt) => attempt.right === true),
  wrong: some((attempt) => attempt.right === false),
  default: some((attempt) => attempt.default),
  contested: some((attempt) => attempt.contested),
  mixed: (problem) => FILTERS.right(problem) && FILTERS.wrong(problem),
};

const of = (name) => (problem) => mean(problem.attempts.map((attempt) => attempt[name]));
const byNumber = (value) => (a, b) => value(a) - value(b);
const byText = (value) => (a, b) => value(a).localeCompare(value(b), "en", { numeric: true });
const right = (problem) => mean(problem.attempts.map((attempt) => (attempt.right ? 1 : attempt.default ? -0.5 : 0)));
const voted = (attempt) => sum(attempt.votes.map(([, score]) => score));
const lead = (problem) => mean(problem.attempts.map((attempt) => (attempt.votes[0]?.[1] ?? 0) / Math.max(1, attempt.ended.length)));

const COLUMNS = [
  { name: "", key: "mark", sort: byNumber(right), title: "right or wrong" },
  { name: "Problem", key: "id", sort: byText((problem) => problem.id) },
  { name: "Answer", key: "answer", sort: byText((problem) => problem.attempts[0].answer), number: true },
  { name: "Reference", key: "reference", sort: byText((problem) => problem.reference ?? ""), number: true },
  { name: "Votes", key: "votes", sort: byNumber(lead), title: "the leader's part of the candidates" },
  { name: "Voted", key: "voted", sort: byNumber((problem) => mean(problem.attempts.map(voted))), number: true },
  { name: "Tokens", key: "tokens", sort: byNumber(of("tokens")), number: true },
  { name: "Seconds", key: "seconds", sort: byNumber(of("seconds")), number: true },
];

function mark(attempt, label) {
  const [sign, word] = { true: ["✓", "right"], false: ["✗", "wrong"], null: ["–", "not known"] }[attempt.right];
  return make("span", { class: `mark ${word.replace(" ", "-")}`, role: "img", "aria-label": label ? `${label} ${word}` : word, title: label ?? word }, sign);
}

// A mark for each seed, or where they are many, of how many how many are right.
function marks({ attempts }) {
  if (attempts.length === 1) return mark(attempts[0]);
  if (attempts.length <= 3 || attempts[0].right === null) return attempts.slice(0, 3).map((attempt) => mark(attempt, attempt.label));
  const count = attempts.filter((attempt) => attempt.right).length;
  const kind = count === attempts.length ? "mark right" : count ? "mark" : "mark wrong";
  return make("span", { class: kind, title: attempts.map((attempt) => `${attempt.label}: ${attempt.right ? "right" : "wrong"}`).join("\n") }, `${count}/${attempts.length}`);
}

// Every answer once; several where seeds disagree.
function answers(problem) {
  const distinct = [...new Set(problem.attempts.map((attempt) => attempt.answer))];
  const tags = ["default", "contested"].filter((name) => problem.attempts.some((attempt) => attempt[name]));
  const more = distinct.length > 3 ? ` +${distinct.length - 3}` : "";
  return [...tags.map((tag) => make("span", { class: "tag" }, tag)), clipped(distinct.slice(0, 3).map((answer) => clipped(answer, 14)).join(", "), 24), more];
}

function voteBar(problem) {
  const kinds = problem.attempts.flatMap((attempt) => attempt.ended.map(kindOf));
  const order = ["leader", "runner-up", "others", "no-answer", "failed", "cancelled"];
  const counts = order.map((kind) => [kind, kinds.filter((other) => other === kind).length]).filter(([, count]) => count);
  const label = counts.map(([kind, count]) => `${count} ${kind.replace("-", " ")}`).join(", ") || "no candidate";
  const bar = make("span", { class: "votebar", role: "img", "aria-label": label, title: label });
  for (const [kind, count] of counts) bar.append(grown(make("span", { class: kind }), count));
  return bar;
}

function grown(element, part) {
  element.style.flexGrow = part;
  return element;
}

function timeBar(problem, longest) {
  const value = of("seconds")(problem);
  const bar = make("span", { class: "timebar" }, make("span", {}));
  bar.firstChild.style.width = `${(100 * value) / longest}%`;
  return [seconds(value), bar];
}

function row(problem, longest) {
  const many = problem.attempts.length > 1;
  const cells = {
    mark: marks(problem),
    id: [make("b", {}, problem.id), make("span", { class: "snippet" }, clipped(problem.text, 160))],
    answer: answers(problem),
    reference: problem.reference === null ? make("span", { class: "muted" }, "–") : clipped(problem.reference, 14),
    votes: voteBar(problem),
    voted: [mean(problem.attempts.map(voted)).toFixed(many ? 1 : 0), make("span", { class: "muted" }, `/${problem.attempts[0].ended.length}`)],
    tokens: short(of("tokens")(problem)),
    seconds: timeBar(problem, longest),
  };
  const tds = COLUMNS.map(({ key, number }) => make("td", { class: number ? `c-${key} number` : `c-${key}` }, cells[key]));
  return make("tr", { "data-id": problem.id, tabindex: "-1", "aria-selected": "false" }, tds);
}

function headings(sort, onSort) {
  const cell = ({ name, key, number, title }) => {
    const way = sort.key === key ? (sort.down ? "descending" : "ascending") : "none";
    const button = make("button", { type: "button", title: title ?? `sort by ${name}`, "aria-label": name || title, on: { click: () => onSort(key) } }, name || "✓", make("span", { class: "way", "aria-hidden": "true" }));
    return make("th", { scope: "col", class: number ? `c-${key} number` : `c-${key}`, "aria-sort": way }, button);
  };
  return make("tr", {}, COLUMNS.map(cell));
}

// Which problems are shown, in which order. Searched words must all occur in id, text or an answer.
function listed(problems, { filter, query, sort }) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (problem) => words.every((word) => problem.searched.includes(word));
  const shown = problems.filter((problem) => FILTERS[filter](problem) && has(problem));
  const column = COLUMNS.find(({ key }) => key === sort.key);
  if (column) shown.sort(column.sort);
  return sort.down ? shown.reverse() : shown;
}

function filterButtons(problems, chosen, onFilter) {
  const counts = Object.entries(FILTERS).map(([name, test]) => [name, problems.filter(test).length]);
  const shown = counts.filter(([name, count]) => name === "all" || count || name === chosen);
  return shown.map(([name, count]) => make("button", { type: "button", "data-filter": name, "aria-pressed": String(name === chosen), on: { click: () => onFilter(name) } }, name, make("span", { class: "muted" }, count)));
}
