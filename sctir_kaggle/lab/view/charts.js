// Pictures in SVG, painted for the width that they have, again when it changes. Colours are the style sheet's.

const painters = new WeakMap();
const watcher = new ResizeObserver((entries) => entries.forEach(({ target }) => painters.get(target)?.()));

// Paints at once, and again for every other width.
function picture(place, height, label, paint) {
  let last = 0;
  const again = () => {
    const width = Math.floor(place.clientWidth);
    if (!width || width === last) return;
    last = width;
    const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    paint(svg, width, height);
    place.replaceChildren(svg);
  };
  painters.set(place, again);
  watcher.observe(place);
}

const steps = (limit, wanted) => {
  const raw = limit / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
};

const write = (x, y, text, kind = "", anchor = "start") => draw("text", { x, y, class: kind, "text-anchor": anchor }, text);
const line = (x1, y1, x2, y2, kind) => draw("line", { x1, y1, x2, y2, class: kind });
const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;

// Horizontal lines with numbers at the left.
function gridlines(svg, frame, limit, format) {
  const step = steps(limit, 4);
  for (let value = 0; value <= limit * 1.001; value += step) {
    const y = frame.y(value);
    svg.append(line(frame.left, y, frame.right, y, "grid"), write(frame.left - 6, y + 4, format(value), "tick", "end"));
  }
}

function frameOf(width, height, { left, right, top, bottom }, columns, limit) {
  const [x0, x1, y0, y1] = [left, width - right, height - bottom, top];
  return {
    left: x0, right: x1, bottom: y0, top: y1,
    x: (value) => x0 + ((x1 - x0) * value) / (columns || 1),
    y: (value) => y0 - ((y0 - y1) * value) / (limit || 1),
  };
}

function curve(svg, frame, rows, kind) {
  const at = (column) => rows.map((row, place) => [frame.x(place), frame.y(100 * row[column])]);
  svg.append(
    draw("path", { class: `band ${kind}`, d: `${path([...at(1), ...at(2).reverse()])}Z` }),
    draw("path", { class: `curve ${kind}`, d: path(at(0)) }),
  );
  if (rows.length === 1) svg.append(draw("circle", { class: `dot ${kind}`, cx: frame.x(0), cy: frame.y(100 * rows[0][0]), r: 3 }));
}

// Names at the right ends of the curves, never one upon the other.
function curveNames(svg, frame, { maj, pass }) {
  const [passY, majY] = [pass, maj].map((rows) => frame.y(100 * rows.at(-1)[0]) + 4);
  const low = Math.max(majY, passY + 28);
  for (const [name, rows, y, kind] of [["pass@k", pass, passY, "pass"], ["maj@k", maj, low, "maj"]]) {
    svg.append(write(frame.right + 8, y, name, `name ${kind}`), write(frame.right + 8, y + 13, percent(rows.at(-1)[0]), "tick"));
  }
}

function curvePicture(svg, width, height, curves) {
  const last = curves.maj.length;
  const frame = frameOf(width, height, { left: 36, right: 68, top: 10, bottom: 34 }, last - 1, 100);
  gridlines(svg, frame, 100, (value) => value.toFixed(0));
  const step = last > 10 ? steps(last, 5) : Math.ceil(last / 5);
  const ticks = [1, ...Array.from({ length: last }, (_, i) => i + 1).filter((k) => k % step === 0 && k !== 1)];
  for (const k of ticks) svg.append(write(frame.x(k - 1), frame.bottom + 16, k, "tick", "middle"));
  svg.append(write((frame.left + frame.right) / 2, height - 3, "k candidates", "tick", "middle"));
  curve(svg, frame, curves.pass, "pass");
  curve(svg, frame, curves.maj, "maj");
  curveNames(svg, frame, curves);
}

const timeLimit = (attempts) => {
  const longest = Math.max(...attempts.map((attempt) => attempt.seconds), 0.1);
  const shares = attempts.flatMap((attempt) => (attempt.share ? [attempt.share[0]] : []));
  const least = Math.min(...shares);
  return least < 3 * longest ? Math.max(longest, least) : longest;
};

const isLate = ({ stopped }) => stopped === "deadline" || stopped === "error";

// A bar a problem in the order in which they were solved; above it, where it is near, what the clock gave it.
function timePicture(svg, width, height, attempts, open) {
  const limit = 1.05 * timeLimit(attempts);
  const frame = frameOf(width, height, { left: 46, right: 8, top: 10, bottom: 22 }, attempts.length, limit);
  gridlines(svg, frame, limit, (value) => short(value) === "0" ? String(+value.toFixed(2)) : +value.toFixed(1));
  attempts.forEach((attempt, place) => {
    const [x, next, y] = [frame.x(place), frame.x(place + 1), frame.y(attempt.seconds)];
    const wide = Math.min(0.76 * (next - x), 36);
    const bar = draw("rect", { class: isLate(attempt) ? "bar late" : "bar", x: (x + next - wide) / 2, y, width: wide, height: frame.bottom - y });
    const hit = draw("rect", { class: "hit", x, y: frame.top, width: next - x, height: frame.bottom - frame.top, on: { click: () => open(attempt) } },
      draw("title", {}, `${attempt.id}, ${attempt.label}: ${seconds(attempt.seconds)} s${attempt.share ? ` of ${seconds(attempt.share[0])} s` : ""}, stopped by ${attempt.stopped}`));
    svg.append(bar, hit);
    const share = attempt.share?.[0];
    if (share <= limit) svg.append(line(x, frame.y(share), next, frame.y(share), "share"));
  });
  svg.append(write((frame.left + frame.right) / 2, height - 4, "in the order solved", "tick", "middle"));
}

// What a candidate became, as the style sheet colours it.
const kindOf = ([, status, place]) =>
  place >= 0 ? ["leader", "runner-up"][place] ?? "others" : status === "cancelled" ? "cancelled" : status === "failed" ? "failed" : "no-answer";

// How many votes the answer at `place` had after each candidate that ended.
function growth(ended, place) {
  let votes = 0;
  return [0, ...ended.map((candidate) => (votes += candidate[2] === place))];
}

function growthLines(svg, frame, attempt) {
  let lowest = frame.top - 10;
  attempt.votes.slice(0, 3).forEach(([answer], place) => {
    const counts = growth(attempt.ended, place);
    const points = counts.flatMap((votes, k) => (k ? [[frame.x(k), frame.y(counts[k - 1])], [frame.x(k), frame.y(votes)]] : [[frame.x(0), frame.y(0)]]));
    const y = Math.max(frame.y(counts.at(-1)) + 4, lowest + 14);
    lowest = y;
    svg.append(draw("path", { class: `step place${place}`, d: path(points) }), write(frame.right + 6, y, clipped(answer, 9), `name place${place}`));
  });
}

// The votes of the three leading answers as candidates ended, and below each step the candidate that made it.
function growthPicture(svg, width, height, attempt, choose) {
  const most = Math.max(1, attempt.votes[0]?.[1] ?? 1);
  const frame = frameOf(width, height, { left: 30, right: 68, top: 10, bottom: 40 }, attempt.ended.length, most);
  gridlines(svg, frame, most, (value) => (Number.isInteger(value) ? value : ""));
  attempt.ended.forEach((candidate, place) => {
    const [x, next] = [frame.x(place), frame.x(place + 1)];
    const cell = draw("rect", { class: `cell ${kindOf(candidate)}`, "data-cell": place, x: x + 0.5, y: frame.bottom + 5, width: Math.max(1, next - x - 1), height: 12, on: { click: () => choose(place) } },
      draw("title", {}, `candidate ${candidate[0]}, ${candidate[1]}`));
    svg.append(cell);
  });
  growthLines(svg, frame, attempt);
  svg.append(write((frame.left + frame.right) / 2, height - 5, "candidates, in the order in which they ended", "tick", "middle"));
}
