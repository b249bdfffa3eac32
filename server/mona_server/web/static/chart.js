// The time chart of an insight: the segment against everybody, the judged window shaded, sizes under it.
// The server sends at most 2,000 points; colours come from the style sheet, so that both themes are one code.

const holder = document.querySelector("[data-chart]");
const data = JSON.parse(document.getElementById(holder.dataset.chart).textContent);

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const exact = (value) => (value === null || value === undefined ? "no value" : String(value));

function traces() {
  const hover = "%{customdata}<extra></extra>";
  const said = (name, values) => values.map((v, i) => `${name} ${exact(v)}<br>${data.sizes[i] ?? 0} contexts`);
  return [
    ...(data.baseline ? [{
      x: data.days, y: data.baseline, customdata: said(data.baseline_name, data.baseline), hovertemplate: hover,
      mode: "lines", line: { color: colour("third"), width: 1.25 }, connectgaps: false,
    }] : []),
    {
      x: data.days, y: data.values, customdata: said(data.segment_name, data.values), hovertemplate: hover,
      mode: "lines+markers", line: { color: colour("text"), width: 1.5 }, connectgaps: false,
      marker: {
        size: data.values.map((_, i) => (data.judged.includes(i) ? 8 : 3)),
        color: data.values.map((_, i) => (data.judged.includes(i) ? colour("anomaly") : colour("text"))),
      },
    },
    {
      x: data.days, y: data.sizes, yaxis: "y2", type: "bar", hovertemplate: "%{y} contexts<extra></extra>",
      marker: { color: data.sizes.map((_, i) => (data.judged.includes(i) ? colour("anomaly") : colour("third"))), opacity: 0.55 },
    },
  ];
}

function layout() {
  const second = colour("second");
  const window_ = (from, to, name, fill) => ({
    type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: colour(fill), line: { width: 0 }, layer: "below", name,
  });
  const shapes = [window_(data.windows.judged[0], data.windows.judged[1], "judged", "judged")];
  if (data.windows.compared) shapes.push(window_(...data.windows.compared, "compared", "compared"));
  if (data.usual) {
    shapes.push({
      type: "rect", xref: "paper", yref: "y", x0: 0, x1: 1, y0: data.usual.low, y1: data.usual.high,
      fillcolor: colour("band"), line: { width: 0 }, layer: "below",
    });
    shapes.push({
      type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: data.usual.middle, y1: data.usual.middle,
      line: { color: colour("third"), width: 1, dash: "dot" }, layer: "below",
    });
  }
  for (const marker of data.markers) {
    shapes.push({ type: "line", xref: "x", yref: "paper", x0: marker.at, x1: marker.at, y0: 0, y1: 1, line: { color: second, width: 1 } });
  }
  const note = (text, x, options) => ({ text, x, xref: "x", yref: "paper", y: 1, yanchor: "bottom", showarrow: false, font: { size: 12, color: second }, ...options });
  const annotations = [
    note("judged", data.windows.judged[1], { xanchor: "right", font: { size: 12, color: colour("anomaly") } }),
    ...data.markers.map((marker) => note(marker.title, marker.at, { xanchor: "left" })),
  ];
  if (data.windows.compared) annotations.push(note("compared with", data.windows.compared[0], { xanchor: "left" }));
  const axis = { gridcolor: colour("faint"), zerolinecolor: colour("line"), linecolor: colour("line"), tickfont: { color: second, size: 12 } };
  return {
    shapes, annotations, showlegend: false, bargap: 0.35, hovermode: "x", dragmode: false,
    margin: { l: 52, r: 16, t: 24, b: 28 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: colour("text"), size: 12 } },
    xaxis: { ...axis, type: "date", showgrid: false, ticks: "outside", ticklen: 4, tickcolor: colour("line"), anchor: "y2", tickformat: "%-d %b", hoverformat: "%a %-d %b %Y" },
    yaxis: { ...axis, domain: [0.27, 1], nticks: 6, title: { text: data.unit, font: { size: 12, color: second } }, automargin: true },
    yaxis2: { ...axis, domain: [0, 0.19], nticks: 3, showgrid: false, rangemode: "tozero", title: { text: "contexts", font: { size: 12, color: second } } },
  };
}

const config = { responsive: true, displayModeBar: false, doubleClick: "reset" };
const draw = () => Plotly.react(holder, traces(), layout(), config).then(() => holder.setAttribute("data-drawn", ""));

draw();
document.addEventListener("mona:theme", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
document.querySelector("[data-png]")?.addEventListener("click", () =>
  Plotly.downloadImage(holder, { format: "png", width: 1200, height: 480, scale: 2, filename: holder.dataset.chartName }));
