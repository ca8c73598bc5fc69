// Elements without markup: whatever a client, a model server or an object is called goes in as text.

export const at = (id) => document.getElementById(id);

/** An element: properties by name (`data` for data-*, `aria` for aria-*), then children; null children are left out. */
export function make(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "data") Object.assign(made.dataset, value);
    else if (name === "aria") for (const [key, said] of Object.entries(value)) made.setAttribute(`aria-${key}`, said);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Change text only where it differs, so that nothing selected is lost. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** One child for each item, in order; a child stays the same element as long as its key does. */
export function keep(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (child === undefined) {
      child = create(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const gone of known.values()) gone.remove();
}

/** A bar of parts, each a fraction of 1 with a kind. */
export function bar(...parts) {
  return setBar(make("div", { className: "bar", aria: { hidden: "true" } }), ...parts);
}

export function setBar(element, ...parts) {
  while (element.children.length > parts.length) element.lastChild.remove();
  parts.forEach(([part, kind], n) => {
    const piece = element.children[n] ?? element.appendChild(document.createElement("i"));
    piece.style.width = `${Math.max(0, Math.min(1, part || 0)) * 100}%`;
    piece.dataset.kind = kind;
  });
  return element;
}

export const seconds = (value) =>
  value === null || value === undefined ? "–" : value < 0.1 ? `${(value * 1000).toFixed(1)} ms` : `${value.toFixed(2)} s`;

export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`);

export const rate = (value) => (value >= 10 ? value.toFixed(0) : value >= 0.095 ? value.toFixed(1) : value > 0 ? value.toFixed(2) : "0");

export const count = (value) =>
  value === null || value === undefined ? "–" : value >= 10000 ? `${Math.round(value / 1000)}k` : String(Math.round(value));

export const words = (name) => String(name ?? "").replaceAll("_", " ");
