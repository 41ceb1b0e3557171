// Draws the figure in props.value (JSON) and reports what is chosen in it. Gradio runs this once a mount, with element, props,
// trigger and watch in scope. chart.html has no ${value}, so Gradio never re-renders what is drawn here.
const Plotly = window.Plotly; // ours: gr.Plot would put another one there later
const div = element.querySelector('.gb-chart');
const css = name => getComputedStyle(div).getPropertyValue(name).trim();

// "var(--gb-accent)" becomes the theme's colour, wherever a key speaks of colours and nowhere else: labels are visitors' text.
const paint = value => Array.isArray(value) ? value.map(paint)
  : typeof value !== 'string' ? value : value.replace(/^var\((--gb-[\w-]+)\)$/, (_, name) => css(name));
const read = text => JSON.parse(text, (key, value) => /color/.test(key) ? paint(value) : value);
const rows = ({data = []}) => data.length === 1 && data[0].type === 'bar' && data[0].orientation === 'h';

const dress = ({data = [], layout = {}}) => {
  const ink = css('--gb-ink'), rule = css('--gb-rule'), paper = css('--gb-surface');
  const axis = {fixedrange: true, zeroline: false, automargin: true, gridcolor: rule, zerolinecolor: rule, linecolor: rule};
  const dressed = {
    dragmode: false, hovermode: rows({data}) ? 'y' : 'closest', margin: {l: 8, r: 8, t: layout.title ? 56 : 36, b: 8}, ...layout,
    autosize: true, height: undefined, width: undefined, paper_bgcolor: paper, plot_bgcolor: paper,
    font: {family: css('font-family'), size: 15, color: ink, ...layout.font},
    hoverlabel: {bgcolor: ink, bordercolor: ink, ...layout.hoverlabel, font: {color: paper, size: 15, ...layout.hoverlabel?.font}},
    modebar: {bgcolor: paper, color: css('--gb-muted'), activecolor: ink, ...layout.modebar},
  };
  const axes = Object.keys(layout).filter(key => /^[xy]axis\d*$/.test(key));
  for (const key of new Set(['xaxis', 'yaxis', ...axes])) dressed[key] = fit(key, {...axis, ...layout[key]}, layout.meta);
  return [data, dressed];
};

// Square cells: layout.meta says how wide and high they are where there is room; a narrow page makes them all smaller, and
// shows every second or third of the names beside them.
const room = () => (div.parentElement.clientWidth || 1120) - (figure.layout?.yaxis?.visible === false ? 2 : 70);
const scale = ({wide} = {}) => wide ? Math.min(1, room() / wide) : 1;
const fit = (key, axis, meta) => {
  if (!meta?.wide || !axis.tickvals) return axis;
  const pixels = meta[key[0] === 'x' ? 'wide' : 'high'] * scale(meta), most = Math.max(4, Math.floor(pixels / 15));
  const every = Math.ceil(axis.tickvals.length / most), short = scale(meta) < 0.7 ? 9 : 99;
  const thin = list => list.filter((_, at) => at % every === 0);
  const cut = text => text.length > short + 4 ? `${text.slice(0, short).replace(/&\w*$/, '')}…` : text; // not within &lt;
  return {...axis, tickvals: thin(axis.tickvals), ticktext: thin(axis.ticktext).map(cut)};
};

// What is sent is a whole figure, or {"marks": […]}: new outlines on the figure that is there.
let figure = {}, whole = '{}', marks, width, name;
const theme = new MutationObserver(() => element.isConnected ? draw() : theme.disconnect());
const take = () => {
  const sent = props.value || '{}', outlines = sent.startsWith('{"marks"');
  if (outlines) marks = sent;
  else [whole, marks] = [sent, undefined];
  if (!outlines) place = void hide(); // with new outlines the keys go on from where they are
  if (outlines && div.data) Plotly.relayout(div, {shapes: figure.layout.shapes = read(marks).marks});
  else draw();
};
const draw = () => {
  figure = read(whole);
  if (marks && figure.layout) figure.layout.shapes = read(marks).marks;
  const {title, meta, height} = figure.layout ?? {}, empty = !figure.data?.length;
  name = (typeof meta === 'string' ? meta : title?.text) || props.label || '';
  const extra = meta?.wide ? (scale(meta) - 1) * meta.high : 0;
  width = room();
  div.classList.toggle('gb-empty', empty);
  div.classList.toggle('gb-heads', !!meta?.wide);
  div.dataset.empty = props.empty ?? '';
  div.ariaLabel = name = empty ? props.empty || name : name;
  div.tabIndex = empty ? -1 : 0;
  div.style.height = empty ? '' : `${(height ?? props.height) + extra}px`;
  div.style.minWidth = figure.layout?.width ? `${figure.layout.width}px` : ''; // wider than the page: scrolled sideways
  if (empty) return div.data && Plotly.purge(div);
  const fresh = !div.data;
  Plotly.react(div, ...dress(figure), {
    responsive: true, displaylogo: false, displayModeBar: true, doubleClick: false, modeBarButtons: [['toImage']],
    toImageButtonOptions: {format: 'png', scale: 2, filename: (name || 'glassbox').replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)},
  });
  const [seen] = figure.layout?.width ? figure.layout.shapes ?? [] : [], scroll = div.closest('.gb-scroll');
  const end = seen && div._fullLayout.xaxis._offset + div._fullLayout.xaxis.d2p(seen.x1);
  if (end > scroll.clientWidth) scroll.scrollLeft = end - scroll.clientWidth / 2; // the outlined cell is out of sight
  if (!fresh) return;
  div.on('plotly_click', ({points: [p]}) => choose(p.curveNumber, Array.isArray(p.pointIndex) ? p.pointIndex : p.pointNumber));
  div.on('plotly_hover', ({points: [p]}) => p.data.type === 'heatmap' && show(p.pointIndex ?? p.pointNumber));
  div.on('plotly_unhover', hide);
};

const choose = (trace, index) => {
  const {x, y, z, customdata} = div._fullData[trace], [row, column] = [index].flat();
  const at = (list, number) => list?.[number] ?? null;
  const grid = Array.isArray(index);
  trigger('select', {index, value: {
    x: at(x, grid ? column : row) ?? (grid ? column : null), y: at(y, row) ?? (grid ? row : null), z: grid ? at(z?.[row], column) : null,
    customdata: grid ? at(customdata?.[row], column) : at(customdata, row), trace,
  }});
};

// A heat map's trace.meta says what to tell of a cell, so that 262,144 cells need no texts of their own:
// {notes} that is notes[row][column], or
// {note, notes} notes["row.column"], else note with its blanks {row} and {column} filled, or
// {rows, columns} rows[row] → columns[column] (rows again where that is null), with the numbers from first[0] and first[1] on;
// then what is said[row][column], and z as a share, of which one step of z is `unit`. `stride` cells belong together.
const note = document.querySelector('body > .gb-note-over') ?? document.body.appendChild(document.createElement('div'));
note.className = 'gb-note-over';
note.setAttribute('aria-hidden', 'true'); // the chart's name says the same while the arrow keys walk over it
const cursor = document.querySelector('body > .gb-cursor') ?? document.body.appendChild(document.createElement('div'));
cursor.className = 'gb-cursor';
const percent = share => share >= 0.095 ? `${Math.round(100 * share)}%` : `${(100 * share).toFixed(1)}%`;
const tell = ([row, column]) => {
  const [{meta, z}] = div._fullData, {note, notes, first, rows, columns, said, unit, stride = 1} = meta ?? {};
  const [down, across] = [row, column].map(at => Math.floor(at / stride));
  if (Array.isArray(notes)) return notes[down]?.[across];
  if (note) return notes[`${down}.${across}`] ?? note.replace('{row}', down + 1).replace('{column}', across + 1);
  if (!rows) return '';
  const step = z[row]?.[column], share = !unit ? '' : `: ${step ? percent(step * unit) : `<${percent(unit / 2)}`}`;
  const call = (list, at, way) => (first ? `${first[way] + at + 1} ` : '') + list[at];
  const one = call(rows, row, 0), other = call(columns ?? rows, column, 1);
  return said ? `${other}\n${one}: “${said[row][column]}” ${share.slice(2)}` : `${one} → ${other}${share}`;
};
const mine = () => note.owner === div; // strips and other charts show the same note
const hide = () => mine() && [note, cursor].forEach(one => one.classList.remove('gb-shown'));
const box = ([row, column]) => { // of a cell, or of the cells that belong together, in the window
  const {xaxis, yaxis} = div._fullLayout, {left, top} = div.getBoundingClientRect(), {stride = 1} = div._fullData[0].meta ?? {};
  const x = column - column % stride - 0.5, y = row - row % stride - 0.5, wide = stride > 1 ? stride - 1 : 1;
  const [x0, x1, y0, y1] = [xaxis.d2p(x), xaxis.d2p(x + wide), yaxis.d2p(y), yaxis.d2p(y + wide)];
  return {left: left + xaxis._offset + x0, top: top + yaxis._offset + y0, width: x1 - x0, height: y1 - y0};
};
const show = cell => {
  const text = tell(cell), at = box(cell);
  if (!text) return hide();
  note.owner = div;
  note.textContent = text;
  const {offsetWidth: wide, offsetHeight: high} = note, right = document.documentElement.clientWidth;
  note.style.left = `${Math.min(Math.max(8, at.left + at.width / 2 - wide / 2), right - wide - 8)}px`;
  note.style.top = `${at.top - high - 8 > 0 ? at.top - high - 8 : at.top + at.height + 8}px`;
  note.classList.add('gb-shown');
};

// The arrow keys walk over the bars, cells or heads, Enter chooses one.
let place;
const walk = event => {
  const trace = div._fullData?.[0], grid = trace?.type === 'heatmap', stride = trace?.meta?.stride ?? 1;
  if (!trace) return;
  const deep = grid ? trace.z.length : trace._length, wide = grid ? trace.z[0].length : 1;
  const [down, right] = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key] ?? [];
  if (event.key === 'Escape') return hide();
  if (event.key === 'Enter' && place) choose(0, grid ? place : place[0]);
  else if (down === undefined) return;
  else {
    const bar = !grid && right ? [right, 0] : [down, grid ? right : 0]; // over bars, right is as good as down
    const [row, column] = place ? [place[0] + bar[0] * stride, place[1] + bar[1] * stride] : [0, 0];
    if (row >= 0 && row < deep && column >= 0 && column < wide) place = [row, column];
  }
  event.preventDefault();
  if (!grid) return Plotly.Fx.hover(div, [{curveNumber: 0, pointNumber: place[0]}]);
  const at = box(place), over = at.left + at.width - document.documentElement.clientWidth;
  if (at.top < 0 || at.top + at.height > innerHeight) scrollBy({top: at.top - innerHeight / 2, behavior: 'instant'});
  div.closest('.gb-scroll').scrollLeft += Math.min(0, at.left - 80) + Math.max(0, over + 40);
  point();
};
const point = () => {
  const at = box(place), text = tell(place);
  for (const side of ['left', 'top', 'width', 'height']) cursor.style[side] = `${at[side]}px`;
  note.owner = div;
  if (text) show(place);
  else Plotly.Fx.hover(div, {xval: place[1], yval: place[0]});
  cursor.classList.add('gb-shown');
  div.ariaLabel = text || name;
};

// The name of a bar is as good to click as the bar.
const pick = event => {
  if (!rows(figure)) return;
  const {yaxis, _size} = div._fullLayout, {left, top} = div.getBoundingClientRect();
  const row = Math.round(yaxis.p2d(event.clientY - top - _size.t));
  if (event.clientX - left < _size.l && row >= 0 && row < div._fullData[0]._length) choose(0, row);
};

take();
div.addEventListener('click', pick);
div.addEventListener('keydown', walk);
div.addEventListener('blur', () => { hide(); div.ariaLabel = name || null; });
const follow = () => mine() && cursor.classList.contains('gb-shown') ? point() : hide();
window.addEventListener('scroll', follow, {passive: true, capture: true});
watch(['value'], take);
watch(['height', 'empty'], draw);
new ResizeObserver(() => { // drawn while hidden, fits when shown
  if (!div.data || !div.offsetParent) return;
  if (figure.layout?.meta?.wide && width !== room()) draw();
  else Plotly.Plots.resize(div);
}).observe(div);
theme.observe(document.body, {attributeFilter: ['class']}); // Gradio marks a dark page there
