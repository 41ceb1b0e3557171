// Shows tokens, reports clicks on them, moves the focus between them and shows their notes. Gradio runs this once a mount, with
// element, props, trigger and watch in scope. tokens.html has no ${value}: a strip that grows gets what is new and no more, so
// that a long story streams as fast as a short one; else what stays the same stays, and with it the focus.
const strip = () => element.querySelector('.gb-tokens');
const become = (old, made) => {
  if (old.isEqualNode(made)) return;
  if (old.className !== made.className) return old.replaceWith(made);
  for (const {name} of [...old.attributes]) if (name !== 'tabindex' && !made.hasAttribute(name)) old.removeAttribute(name);
  for (const {name, value} of made.attributes) old.setAttribute(name, value);
  old.innerHTML = made.innerHTML;
};
let shown = '';
const draw = () => {
  const html = props.value ?? '', box = strip();
  if (shown && html.startsWith(shown)) box.insertAdjacentHTML('beforeend', html.slice(shown.length));
  else {
    const made = document.createElement('template'), old = [...box.children];
    made.innerHTML = html;
    const fresh = [...made.content.children];
    old.slice(fresh.length).forEach(one => one.remove());
    fresh.forEach((one, at) => old[at] ? become(old[at], one) : box.append(one));
  }
  shown = html;
};
draw();
watch(['value'], draw);

const tokenAt = event => event.target.closest?.('.gb-token');
const tokens = () => [...strip()?.querySelectorAll(':scope > .gb-token') ?? []]; // not what says how many are left out
const choose = token => trigger('select', {index: tokens().indexOf(token), value: token.textContent});
const press = token => { // shown at once, whatever the server is busy with
  if (!props.choose) return;
  strip().querySelectorAll('[aria-pressed]').forEach(one => one.removeAttribute('aria-pressed'));
  token.setAttribute('aria-pressed', true);
};
const near = (token, way) => { // the next token, over what is none
  do token = token?.[way]; while (token && !token.matches('.gb-token'));
  return token;
};

const focus = token => { // only the first has a tabindex of its own: hundreds of others would weigh
  if (!token.hasAttribute('tabindex')) token.tabIndex = -1;
  token.focus();
};

element.addEventListener('click', event => {
  const token = tokenAt(event);
  if (!token) return;
  focus(token);
  press(token);
  choose(token);
});
element.addEventListener('keydown', event => {
  const token = tokenAt(event);
  if (!token) return;
  const next = {
    ArrowRight: near(token, 'nextElementSibling'), ArrowLeft: near(token, 'previousElementSibling'),
    Home: tokens()[0], End: tokens().at(-1),
  }[event.key];
  if (event.key === 'Enter' || event.key === ' ') press(token), choose(token);
  else if (event.key === 'Escape') hide();
  else if (next) focus(next);
  else return;
  event.preventDefault();
});

// One note serves the whole page. It hangs from the body, for the strip's own children are compared and replaced.
const note = document.querySelector('body > .gb-note-over') ?? document.body.appendChild(document.createElement('div'));
note.className = 'gb-note-over';
note.setAttribute('aria-hidden', 'true'); // the token's aria-description says the same
const hide = () => note.owner === element && note.classList.remove('gb-shown'); // charts show the same note
const show = event => {
  const token = tokenAt(event), text = token && (looks(token) || token.getAttribute('aria-description'));
  if (!text) return hide();
  token.ariaDescription = text;
  note.owner = element;
  document.querySelector('body > .gb-cursor')?.classList.remove('gb-shown');
  note.textContent = text;
  const box = [...token.getClientRects()].at(-1), {offsetWidth: wide, offsetHeight: high} = note;
  const left = Math.min(Math.max(8, box.left + box.width / 2 - wide / 2), document.documentElement.clientWidth - wide - 8);
  note.style.left = `${left}px`;
  const above = box.top - high - 8 > 0 && !token.dataset.to; // lines leave a token upwards as a rule
  note.style.top = `${above ? box.top - high - 8 : box.bottom + 8}px`;
  note.classList.add('gb-shown');
};
for (const kind of ['pointerover', 'focusin', 'click']) element.addEventListener(kind, show);
for (const kind of ['pointerleave', 'focusout']) element.addEventListener(kind, hide);
window.addEventListener('scroll', hide, {passive: true, capture: true});

// Where a token looks: data-to=12:41,3:20 names the tokens it looks at most, and the percentage of its look each gets.
// Lines go from the token under the pointer, the focus or the finger, else from the chosen one, to these. They lie over the
// strip, beside it in the page, for what is in it is replaced.
const first = () => +(tokens()[0]?.dataset.at ?? 0);
const targets = token => (token.dataset.to ?? '').split(',').filter(Boolean).map(pair => pair.split(':').map(Number));
const call = number => `${number + 1} ${tokens()[number - first()]?.textContent ?? ''}`.trim();
const looks = token => targets(token).map(([to, share]) => `→ ${call(to)}  ${share}%`).join('\n');

const SVG = 'http://www.w3.org/2000/svg';
const lines = document.createElementNS(SVG, 'svg');
lines.setAttribute('class', 'gb-lines');
lines.setAttribute('aria-hidden', 'true');
const put = (kind, looks) => {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(looks)) made.setAttribute(name, value);
  lines.append(made);
};
const bend = (from, to) => { // [x, y of the end, path] from one token's edge to another's: an arc over the row, or an S between rows
  const middle = one => one.left + one.width / 2;
  if (Math.abs(to.top - from.top) < from.height / 2) {
    const itself = from === to, a = middle(from) - itself * 7, b = middle(to) + itself * 7, away = b - a;
    const rise = itself ? 26 : Math.min(15 + Math.abs(away) * 0.06, 34), lean = itself ? -16 : away * 0.2;
    return [b, to.top, `M${a} ${from.top}C${a + lean} ${from.top - rise} ${b - lean} ${to.top - rise} ${b} ${to.top}`];
  }
  const up = to.top < from.top, a = middle(from), b = middle(to);
  const y0 = up ? from.top : from.top + from.height, y1 = up ? to.top + to.height : to.top, half = (y0 + y1) / 2;
  return [b, y1, `M${a} ${y0}C${a} ${half} ${b} ${half} ${b} ${y1}`];
};
let token; // the lines' own
const link = from => {
  token = from;
  lines.replaceChildren();
  if (!from?.dataset.to || !from.isConnected) return;
  if (!lines.isConnected) element.parentElement.append(lines);
  const all = tokens(), begin = first(), origin = lines.getBoundingClientRect();
  const most = Math.max(...targets(from).map(([, share]) => share));
  const place = one => {
    const {left, top, width, height} = one.getBoundingClientRect();
    return {left: left - origin.left, top: top - origin.top, width, height};
  };
  const start = place(from), [before, after] = ['first', 'last'].map(end => strip()[`${end}ElementChild`]);
  for (const [to, share] of targets(from).reverse()) {
    const one = all[to - begin] ?? (to < begin ? before : after); // outside of the window: to where it says so
    const [x, y, d] = bend(start, one === from ? start : place(one)), opacity = (0.3 + 0.6 * share / most).toFixed(2);
    put('path', {d, 'stroke-width': (1.25 + 5 * share / 100).toFixed(2), opacity});
    put('circle', {cx: x, cy: y, r: 3 + 2.5 * share / 100, opacity});
  }
};
const pointed = '.gb-token:hover, .gb-token:focus-visible';
const rest = () => link(element.querySelector(pointed) ?? element.querySelector('.gb-token[aria-pressed]'));
const touch = event => tokenAt(event) && link(tokenAt(event));
for (const kind of ['pointerover', 'focusin', 'click']) element.addEventListener(kind, touch);
for (const kind of ['pointerleave', 'focusout']) element.addEventListener(kind, rest);
if (props.lines) {
  new MutationObserver(rest).observe(element, {childList: true, subtree: true});
  new ResizeObserver(() => link(token?.isConnected ? token : null)).observe(element);
  rest();
}
