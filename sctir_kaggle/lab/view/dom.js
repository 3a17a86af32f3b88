// Elements without markup: what a text says stays text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const find = (id) => document.getElementById(id);

// A block of the page's data: base64 of gzip of JSON.
async function unpack(id) {
  const bytes = Uint8Array.from(atob(find(id).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => (values.length ? sum(values) / values.length : 0);
const percent = (part) => `${(100 * part).toFixed(1)} %`;

function short(number) {
  if (number >= 1e6) return `${(number / 1e6).toFixed(number < 1e8 ? 1 : 0)}M`;
  if (number >= 1e3) return `${(number / 1e3).toFixed(number < 1e5 ? 1 : 0)}k`;
  return number.toFixed(0);
}

const seconds = (value) => (value < 100 ? value.toFixed(1) : value.toFixed(0));
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const clipped = (text, longest) => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);
