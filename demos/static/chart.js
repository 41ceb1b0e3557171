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
  for (const key of new Set(['xaxis', 'yaxis', ...axes])) dressed[key] = {...axis, ...layout[key]};
  return [data, dressed];
};

let figure = {};
const theme = new MutationObserver(() => element.isConnected ? draw() : theme.disconnect());
const draw = () => {
  figure = read(props.value || '{}');
  const {title, meta, height} = figure.layout ?? {}, empty = !figure.data?.length;
  const name = (typeof meta === 'string' ? meta : title?.text) || props.label || '';
  div.classList.toggle('gb-empty', empty);
  div.dataset.empty = props.empty ?? '';
  div.ariaLabel = empty ? props.empty || name : name;
  div.tabIndex = empty ? -1 : 0;
  div.style.height = empty ? '' : `${height ?? props.height}px`;
  place = -1;
  if (empty) return div.data && Plotly.purge(div);
  const fresh = !div.data;
  Plotly.react(div, ...dress(figure), {
    responsive: true, displaylogo: false, displayModeBar: true, doubleClick: false, modeBarButtons: [['toImage']],
    toImageButtonOptions: {format: 'png', scale: 2, filename: (name || 'glassbox').replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)},
  });
  if (fresh) div.on('plotly_click', ({points: [p]}) => choose(p.curveNumber, Array.isArray(p.pointIndex) ? p.pointIndex : p.pointNumber));
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

// The arrow keys walk over the bars or cells, Enter chooses one.
let place = -1;
const walk = event => {
  const trace = div._fullData?.[0], wide = trace?.type === 'heatmap' ? trace._length ?? trace.z[0].length : 1;
  if (!trace) return;
  const last = (trace.type === 'heatmap' ? trace.z.length * wide : trace._length) - 1;
  const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide}[event.key];
  if (step) place = place < 0 ? 0 : place + step < 0 || place + step > last ? place : place + step;
  else if (event.key === 'Enter' && place >= 0) choose(0, wide > 1 ? [Math.floor(place / wide), place % wide] : place);
  else return;
  event.preventDefault();
  const cell = {xval: place % wide, yval: Math.floor(place / wide)};
  Plotly.Fx.hover(div, trace.type === 'heatmap' ? cell : [{curveNumber: 0, pointNumber: place}]);
};

// The name of a bar is as good to click as the bar.
const pick = event => {
  if (!rows(figure)) return;
  const {yaxis, _size} = div._fullLayout, {left, top} = div.getBoundingClientRect();
  const row = Math.round(yaxis.p2d(event.clientY - top - _size.t));
  if (event.clientX - left < _size.l && row >= 0 && row < div._fullData[0]._length) choose(0, row);
};

draw();
div.addEventListener('click', pick);
div.addEventListener('keydown', walk);
watch(['value', 'height', 'empty'], draw);
new ResizeObserver(() => div.data && div.offsetParent && Plotly.Plots.resize(div)).observe(div); // drawn while hidden, fits when shown
theme.observe(document.body, {attributeFilter: ['class']}); // Gradio marks a dark page there
