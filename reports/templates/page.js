// Draws the page's charts in the colours of its scheme, and copies command lines.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A figure names colours as `var(--x)`: here they get those of the scheme.
  const resolved = (value) => {
    if (typeof value === "string") {
      const named = /^var\((--[a-z0-9-]+)\)$/.exec(value);
      return named ? color(named[1]) : value;
    }
    if (Array.isArray(value)) return value.map(resolved);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolved(inner)]));
    }
    return value;
  };

  const styled = (layout) => {
    const [ink, soft, grid, line] = ["--ink", "--soft", "--grid", "--line"].map(color);
    const axis = (own) => Object.assign({
      gridcolor: grid, linecolor: line, zerolinecolor: line, tickcolor: line, automargin: true,
    }, own, { title: Object.assign({ standoff: 10, font: { color: soft, size: 13 } }, own && own.title) });
    return Object.assign({}, layout, {
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: ink },
      margin: Object.assign({ l: 56, r: 14, t: layout.annotations && layout.annotations.length ? 24 : 10, b: 46 }, layout.margin),
      legend: Object.assign({ orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" }, layout.legend),
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--muted"), activecolor: color("--accent") },
      hoverlabel: { bgcolor: color("--card"), bordercolor: line, font: { color: ink } },
      xaxis: axis(layout.xaxis),
      yaxis: axis(layout.yaxis),
    });
  };

  const figures = [...document.querySelectorAll("script[data-figure]")].map((script) => ({
    place: document.getElementById(script.dataset.figure),
    figure: JSON.parse(script.textContent),
  }));
  const options = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const draw = ({ place, figure }) => {
    const data = figure.data.map((trace) => {
      const own = resolved(trace);
      if (own.colorbar) own.colorbar = Object.assign({ tickcolor: color("--line"), outlinewidth: 0 }, own.colorbar);
      return own;
    });
    return window.Plotly.react(place, data, styled(resolved(figure.layout)), options);
  };
  // One after the other, so that the page answers in between.
  const drawAll = async () => {
    for (const figure of figures) {
      await draw(figure);
      await new Promise((go) => setTimeout(go, 0));
    }
    document.documentElement.dataset.charts = String(figures.length);
  };
  drawAll();
  dark.addEventListener("change", drawAll);

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "copied";
      } catch {
        // A page of a file may not: select it, so that the user can.
        getSelection().selectAllChildren(button.parentElement.querySelector("code"));
        button.textContent = "selected";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }
})();
