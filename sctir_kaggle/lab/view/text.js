// What a model wrote: prose with LaTeX, Python, outputs. Everything ends up as text nodes or in KaTeX's own elements.

const KATEX = { output: "html", throwOnError: true, trust: false, strict: "ignore", maxSize: 40, maxExpand: 500 };

// An escaped dollar, then the ways to write a formula. A single dollar opens only before, and closes only after, ink.
const FORMULA = new RegExp(
  [
    String.raw`\\\$`,
    String.raw`\$\$(?<d1>[^]+?)\$\$[ \t]*\n?`,
    String.raw`\\\[(?<d2>[^]+?)\\\][ \t]*\n?`,
    String.raw`(?<d3>\\begin\{(?<e>(?:align|equation|gather)\*?)\}[^]+?\\end\{\k<e>\})[ \t]*\n?`,
    String.raw`\\\((?<t1>[^]+?)\\\)`,
    String.raw`\$(?<t2>(?!\s)(?:\\[^]|[^$\\])+?)(?<!\s)\$(?!\d)`,
  ].join("|"),
  "g",
);

const FENCE = /```([\w+-]*)[ \t]*\r?\n([^]*?)(?:\r?\n?```|$)/g;

const PYTHON = new RegExp(
  [
    String.raw`(?<comment>#[^\n]*)`,
    String.raw`(?<string>(?:(?<!\w)[rRbBfFuU]{1,2})?(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))`,
    String.raw`(?<number>\b(?:0[xXoObB][\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?j?)\b)`,
    String.raw`(?<word>\b(?:and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield|None|True|False)\b)`,
    String.raw`(?<call>\b[A-Za-z_]\w*(?=\())`,
  ].join("|"),
  "g",
);

// The pieces of `text` that `pattern` finds, drawn by `show`, and what lies between them as it is.
function pieces(text, pattern, show, plain = (piece) => piece) {
  const shown = [];
  let at = 0;
  for (const found of text.matchAll(pattern)) {
    if (found.index > at) shown.push(plain(text.slice(at, found.index)));
    shown.push(show(found));
    at = found.index + found[0].length;
  }
  if (at < text.length) shown.push(plain(text.slice(at)));
  return shown.flat();
}

function python(code) {
  return pieces(code, PYTHON, (found) => {
    const kind = Object.keys(found.groups).find((name) => found.groups[name] !== undefined);
    return make("span", { class: `py-${kind}` }, found[0]);
  });
}

function formula(found) {
  if (found[0] === "\\$") return "$";
  const { d1, d2, d3, t1, t2 } = found.groups;
  const source = d1 ?? d2 ?? d3 ?? t1 ?? t2;
  const display = (d1 ?? d2 ?? d3) !== undefined;
  const place = make("span", { class: display ? "math display" : "math", role: "math", "aria-label": source });
  try {
    katex.render(source, place, { ...KATEX, displayMode: display });
  } catch {
    return make("code", { class: "bad-math", title: "KaTeX cannot draw this" }, found[0]);
  }
  return place;
}

const prose = (text) => make("div", { class: "prose" }, pieces(text, FORMULA, formula));

function block(found) {
  const [, language, code] = found;
  if (language === "output" && !code.trim()) return [];
  const content = /^(py|python)\d?$/.test(language) ? python(code) : code;
  return [make("pre", { class: "code", tabindex: "0", "aria-label": language || "code" }, make("code", {}, content))];
}

// A fence that the model left open for the output is not part of what is read.
function written(text, asWritten) {
  if (asWritten) return [make("pre", { class: "raw", tabindex: "0" }, text)];
  const read = text.replace(/```(?:output|out|stdout|console|result)s?\n?$/i, "").trim();
  return pieces(read, FENCE, block, (piece) => (piece.trim() ? [prose(piece.trim())] : []));
}
