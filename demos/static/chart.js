// Draws the figure in props.value (JSON) and reports clicks. Gradio runs this once a mount, with
// element, props, trigger and watch in scope. chart.html has no ${value}, so nothing here is ever re-rendered.
const Plotly = window.Plotly; // ours: gr.Plot would put another one there later
const div = element.querySelector('.gb-chart');
const css = name => getComputedStyle(div).getPropertyValue(name).trim();

// "var(--gb-accent)" becomes the theme's colour, wherever a key speaks of colours and nowhere else: labels are visitors' text.
const paint = value => Array.isArray(value) ? value.map(paint)
  : typeof value !== 'string' ? value : value.replace(/^var\((--gb-[\w-]+)\)$/, (_, name) => css(name));
const read = text => JSON.parse(text, (key, value) => /color/.test(key) ? paint(value) : value);

const dress = ({data = [], layout = {}}) => {
  const ink = css('--gb-ink'), rule = css('--gb-rule'), paper = css('--gb-surface');
  const axis = {fixedrange: true, automargin: true, gridcolor: rule, zerolinecolor: rule, linecolor: rule, tickfont: {}};
  const dressed = {
    dragmode: false, hovermode: 'closest', margin: {l: 8, r: 8, t: layout.title ? 48 : 12, b: 8}, ...layout,
    autosize: true, height: undefined, width: undefined, paper_bgcolor: paper, plot_bgcolor: paper,
    font: {family: css('font-family'), size: 14, color: ink, ...layout.font},
    hoverlabel: {bgcolor: ink, bordercolor: ink, ...layout.hoverlabel, font: {color: paper, size: 14, ...layout.hoverlabel?.font}},
    modebar: {bgcolor: 'rgba(0,0,0,0)', color: css('--gb-muted'), activecolor: ink, ...layout.modebar},
  };
  const axes = Object.keys(layout).filter(key => /^[xy]axis\d*$/.test(key));
  for (const key of new Set(['xaxis', 'yaxis', ...axes])) dressed[key] = {...axis, ...layout[key]};
  return [data, dressed];
};

const draw = () => {
  if (!element.isConnected) return theme.disconnect();
  const figure = read(props.value || '{}'), {title, meta, height} = figure.layout ?? {};
  const name = typeof meta === 'string' ? meta : title?.text ?? '';
  div.classList.toggle('gb-empty', !figure.data?.length);
  div.dataset.empty = props.empty ?? '';
  div.ariaLabel = name || props.empty || props.label || '';
  div.style.height = figure.data?.length ? `${height ?? props.height}px` : '';
  Plotly.react(div, ...dress(figure), {
    responsive: true, displaylogo: false, displayModeBar: !!figure.data?.length, doubleClick: false, modeBarButtons: [['toImage']],
    toImageButtonOptions: {format: 'png', scale: 2, filename: (name || 'glassbox').replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)},
  });
};

const theme = new MutationObserver(draw); // Gradio marks a dark page with a class on the body
draw();
div.on('plotly_click', ({points: [p]}) => trigger('select', {
  index: Array.isArray(p.pointIndex) ? p.pointIndex : p.pointNumber ?? p.pointIndex,
  value: {x: p.x ?? null, y: p.y ?? null, z: p.z ?? null, customdata: p.customdata ?? null, trace: p.curveNumber},
}));
watch(['value', 'height', 'empty'], draw);
new ResizeObserver(() => div.offsetParent && Plotly.Plots.resize(div)).observe(div); // drawn while hidden, fits when shown
theme.observe(document.body, {attributeFilter: ['class']});
