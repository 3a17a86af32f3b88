// The opened problem: its statement, the vote as it grew, who voted for what, and one candidate in full.

function problemHead(problem, attempt, act) {
  const many = problem.attempts.length > 1;
  const about = [problem.subject, problem.level].filter(Boolean).join(" · ");
  const seeds = problem.attempts.map((other, place) =>
    make("button", { type: "button", "aria-pressed": String(other === attempt), on: { click: () => act.seed(place) } }, mark(other), ` ${other.label}`));
  return make("header", { class: "problem-head" },
    make("div", { class: "row" },
      make("button", { type: "button", class: "back", on: { click: act.close }, title: "Close (Esc)" }, "← All"),
      make("h2", { id: "problem-title", tabindex: "-1" }, problem.id),
      about ? make("span", { class: "muted" }, about) : null,
      make("span", { class: "steps" },
        make("button", { type: "button", "aria-label": "previous problem", title: "Previous (k)", on: { click: () => act.step(-1) } }, "↑"),
        make("button", { type: "button", "aria-label": "next problem", title: "Next (j)", on: { click: () => act.step(1) } }, "↓"))),
    many ? make("div", { class: "filters seeds", role: "group", "aria-label": "Seed" }, seeds) : null);
}

function verdict(problem, attempt) {
  const given = make("span", {}, "answered ", make("b", {}, clipped(attempt.answer, 60)), attempt.default ? make("span", { class: "tag" }, "default") : null);
  if (problem.reference === null) return make("p", { class: "verdict" }, mark(attempt), given, make("span", { class: "muted" }, "no reference answer"));
  const wrong = attempt.right ? null : make("span", {}, "right is ", make("b", {}, clipped(problem.reference, 60)));
  return make("p", { class: "verdict" }, mark(attempt), given, wrong);
}

const STOPPED = {
  all: "all candidates ended",
  exact: "no continuation could change the winner",
  beta: "the leader was probably safe",
  k: "enough candidates agreed",
  margin: "the leader was far enough ahead",
  uncontested: "extra candidates settled the vote",
  deadline: "time was up",
  error: "an error at the competition's edge",
};

function facts(attempt) {
  const share = attempt.share ? ` of ${seconds(attempt.share[0])} s (${seconds(attempt.share[1])} s if contested)` : "";
  const risk = attempt.risk === null ? "" : `, risk ${(100 * attempt.risk).toPrecision(2)} %`;
  const parts = [
    `stopped: ${STOPPED[attempt.stopped] ?? attempt.stopped}${risk}`,
    `${seconds(attempt.seconds)} s${share}`, plural(attempt.tokens, "token"), plural(attempt.executions, "execution"),
  ];
  return make("p", { class: "muted facts" }, parts.join(" · "));
}

// The candidates that `belongs` names, as tabs, in the order in which they ended.
function tabs(attempt, belongs, chosen, choose) {
  return attempt.ended.flatMap((candidate, place) => {
    if (!belongs(candidate)) return [];
    const label = `candidate ${candidate[0]}, ${candidate[1].replaceAll("_", " ")}, ended ${place + 1} of ${attempt.ended.length}`;
    const selected = String(place === chosen);
    return [make("button", { type: "button", role: "tab", class: `chip ${kindOf(candidate)}`, "data-place": place, "aria-selected": selected, "aria-controls": "candidate", tabindex: place === chosen ? "0" : "-1", title: label, "aria-label": label, on: { click: () => choose(place) } }, candidate[0])];
  });
}

function voteRow(name, count, most, kind, chips, right) {
  const bar = make("span", { class: `bar ${kind}` });
  bar.style.width = `${(100 * count) / Math.max(1, most)}%`;
  return make("div", { class: "voterow", role: "presentation" },
    make("span", { class: right ? "answer right" : "answer", title: name }, clipped(name, 12), right ? " ✓" : ""),
    make("span", { class: "number" }, String(+count.toFixed(2))), make("span", { class: "track", "aria-hidden": "true" }, bar),
    make("span", { class: "chips", role: "presentation" }, chips));
}

const UNVOTED = { pruned: "pruned", exhausted: "no answer", out_of_context: "out of context", failed: "failed", cancelled: "cancelled", answered: "not counted" };

// An answer each, the leading one first; then those without a vote, by why they ended.
function ballots(problem, attempt, chosen, choose) {
  const unvoted = Object.keys(UNVOTED).map((status) => [status, attempt.ended.filter((c) => c[2] < 0 && c[1] === status).length]).filter(([, count]) => count);
  const most = Math.max(attempt.votes[0]?.[1] ?? 0, ...unvoted.map(([, count]) => count));
  const rows = attempt.votes.map(([answer, score], place) =>
    voteRow(answer, score, most, ["leader", "runner-up"][place] ?? "others", tabs(attempt, (c) => c[2] === place, chosen, choose), answer === problem.reference));
  const missing = problem.reference !== null && !attempt.votes.some(([answer]) => answer === problem.reference);
  if (missing) rows.push(voteRow(problem.reference, 0, most, "others", [make("span", { class: "muted" }, "nobody")], true));
  for (const [status, count] of unvoted)
    rows.push(voteRow(UNVOTED[status], count, most, status === "cancelled" ? "cancelled" : "no-answer", tabs(attempt, (c) => c[2] < 0 && c[1] === status, chosen, choose), false));
  return make("div", { class: "ballots", role: "tablist", "aria-label": "Candidates" }, rows);
}

function growthFigure(attempt, { choose, mark: markAgain }) {
  const place = make("div", { class: "picture" });
  const winner = attempt.votes[0];
  picture(place, 190, winner ? `The vote as it grew: ${winner[0]} ended with ${winner[1]} votes` : "Nobody voted", (svg, width, height) => {
    growthPicture(svg, width, height, attempt, choose);
    queueMicrotask(markAgain);
  });
  return make("figure", {}, make("figcaption", {}, "The vote as it grew"), place);
}

function problemView(problem, attempt, chosen, act) {
  const panel = make("div", { id: "candidate", role: "tabpanel", tabindex: "0", "aria-labelledby": "candidate-title" });
  const votes = attempt.ended.length
    ? [make("div", { class: "vote" }, growthFigure(attempt, act), ballots(problem, attempt, chosen, act.choose)),
       make("div", { class: "tools" }, make("button", { type: "button", id: "raw", "aria-pressed": "false", title: "As written (r)", on: { click: act.raw } }, "As written")), panel]
    : [make("p", { class: "notice" }, "No candidate was started.")];
  return [problemHead(problem, attempt, act), make("div", { class: "statement" }, prose(problem.text)), verdict(problem, attempt), facts(attempt), ...votes];
}
