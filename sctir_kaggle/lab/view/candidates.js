// One candidate: why it ended, then turn by turn what it wrote, what ran and what that printed.

const WHY = {
  answered: "gave an integer in range",
  pruned: "stopped with nothing to run and nothing to vote with",
  exhausted: "no answer after its last turn",
  out_of_context: "the prompt no longer fits the model's context",
  cancelled: "ended from outside: the vote was decided, or time was up",
  failed: "the engine or the sandbox failed it",
};

const STATUS = { ok: "ran", error: "raised", timeout: "timed out", memory: "out of memory", output_limit: "printed too much", crash: "crashed" };

function output(result) {
  if (!result) return [];
  const name = make("span", { class: result.status === "ok" ? "tag" : "tag bad" }, STATUS[result.status] ?? result.status);
  const head = make("p", { class: "output-head muted" }, name, ` in ${result.seconds} s`);
  const text = make("pre", { class: "output", tabindex: "0", "aria-label": "output" }, result.text || make("span", { class: "muted" }, "(printed nothing)"));
  const shown = result.shown === null ? [] : [make("details", {}, make("summary", {}, "what the model was shown of it"), make("pre", { class: "output" }, result.shown.trim()))];
  return [head, text, ...shown];
}

function turnOf(turn, number, asWritten, note) {
  const facts = [plural(turn.tokens, "token"), `${seconds(turn.seconds)} s`, turn.length ? "cut at the token limit" : null, note];
  return make("section", { class: "turn", "aria-label": `Turn ${number}` },
    make("h4", {}, `Turn ${number}`, make("span", { class: "muted" }, facts.filter(Boolean).join(" · "))),
    turn.prefix ? make("p", { class: "prefix" }, make("span", { class: "tag" }, "written for it"), ` ${turn.prefix.trim()}`) : null,
    written(turn.text, asWritten),
    output(turn.output));
}

function cutOf(cut, number, asWritten) {
  if (!cut) return [];
  const note = `cut short after ${seconds(cut.seconds)} s while ${cut.doing === "executing" ? "its code ran" : "the model wrote"}`;
  if (cut.turn) return [turnOf(cut.turn, number, asWritten, note)];
  return [make("p", { class: "muted" }, `Turn ${number}: ${note}.`)];
}

function candidateHead(candidate, place, count, reference) {
  const right = reference !== null && candidate.answer === reference;
  const vote = candidate.answer === null ? "no vote" : `voted ${candidate.answer}`;
  const boxed = candidate.boxed !== null && candidate.boxed !== candidate.answer ? ` (wrote ${clipped(candidate.boxed, 60)})` : "";
  return make("header", { class: "candidate-head" },
    make("h3", { id: "candidate-title" }, `Candidate ${candidate.candidate}`, make("span", { class: right ? "vote right" : "vote" }, vote + boxed, right ? " ✓" : "")),
    make("p", { class: "muted" }, make("span", { class: candidate.status === "failed" ? "tag bad" : "tag" }, candidate.status.replaceAll("_", " ")),
      ` ${WHY[candidate.status] ?? ""} · ended ${place + 1} of ${count} · ${plural(candidate.tokens, "token")} · ${seconds(candidate.seconds)} s`),
    candidate.detail ? make("p", { class: "detail" }, candidate.detail) : null);
}

function candidatePanel(candidate, place, count, reference, asWritten) {
  const head = candidateHead(candidate, place, count, reference);
  if (candidate.turns === null) return [head, make("p", { class: "notice" }, "Its text is not on this page, which would be too large; the journal has it.")];
  const turns = candidate.turns.map((turn, number) => turnOf(turn, number + 1, asWritten));
  const none = turns.length || candidate.cut ? [] : [make("p", { class: "muted" }, "It has no whole turn.")];
  return [head, ...none, ...turns, ...cutOf(candidate.cut, turns.length + 1, asWritten)];
}
