// Shows the swarm: peers as a graph, blocks as they flow, any moment of the run.
//
// The work of a frame depends on what is on the screen, not on how much happened: flows are kept by slice of time,
// and those of the slices before the moment are added up when the slice changes.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("swarm-data").textContent);
  const canvas = document.getElementById("swarm");
  const pen = canvas.getContext("2d");
  const byId = (id) => document.getElementById(id);
  const [play, restart, scrub, overview, speedBox] = ["play", "restart", "scrub", "overview", "speed"].map(byId);
  const [tip, clock, faultBox, says] = ["swarm-tip", "swarm-clock", "swarm-fault", "swarm-says"].map(byId);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // ---- reading the film
  const numbers = function* (text) {
    const bytes = atob(text);
    for (let at = 0, value = 0, scale = 1; at < bytes.length; at++) {
      const byte = bytes.charCodeAt(at);
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) { yield value; value = 0; scale = 1; }
    }
  };
  const count = data.peers.length;
  const slices = data.slices;
  const sliceS = data.slice_ms / 1000;
  const end = Math.max(data.end_s, 0.001);
  const first = new Int32Array(slices + 1);
  const from = [], to = [], kib = [];
  {
    const next = numbers(data.flows);
    for (let slice = 0; slice < slices; slice++) {
      first[slice] = from.length;
      let sender = 0;
      for (let left = next.next().value; left > 0; left--) {
        sender += next.next().value;
        from.push(sender);
        to.push(next.next().value);
        kib.push(next.next().value);
      }
    }
    first[slices] = from.length;
  }
  const has = new Uint8Array(slices * count);
  {
    const next = numbers(data.progress);
    const now = new Uint8Array(count);
    for (let slice = 0; slice < slices; slice++) {
      for (let left = next.next().value; left > 0; left--) {
        const host = next.next().value;
        now[host] = next.next().value;
      }
      has.set(now, slice * count);
    }
  }
  const WHOLE = 250;
  const lives = data.peers.map(() => ({ changes: [], complete: Infinity, banned: Infinity }));
  for (const [ms, host, kind] of data.marks) {
    const [life, at, word] = [lives[host], ms / 1000, data.kinds[kind]];
    if (word === "joined" || word === "left" || word === "crashed") life.changes.push([at, word]);
    else if (word === "complete") life.complete = Math.min(life.complete, at);
    else if (word === "banned") life.banned = Math.min(life.banned, at);
  }
  const finishes = lives.map((life) => life.complete).filter(Number.isFinite);

  // ---- the moment
  let now = 0, playing = false, speed = 1, flowClock = 0, frames = 0, drawMs = 0;
  let chosen = -1, hovered = -1, dirty = true, visible = true, slice = -1;
  let width = 0, height = 0;
  let colors = {};
  let groupColors = [];
  const isSource = (peer) => peer.role === "seed" || peer.role === "server";
  const isBad = (peer) => peer.role === "attacker";
  const stateOf = (host, at) => {
    let word = "away";
    for (const [when, change] of lives[host].changes) {
      if (when > at) break;
      word = change;
    }
    return word === "joined" ? "online" : word;
  };
  const sliceAt = (at) => Math.max(0, Math.min(slices - 1, Math.floor(at / sliceS)));
  const progress = (host, at) => {
    if (isSource(data.peers[host])) return 1;
    if (slices === 0) return 0;
    // What stands at the end of a slice, and between two ends what lies between.
    const place = at / sliceS - 1;
    const before = Math.max(-1, Math.min(slices - 1, Math.floor(place)));
    const after = Math.min(slices - 1, before + 1);
    const a = before < 0 ? 0 : has[before * count + host];
    const b = has[after * count + host];
    // A loss is a step, progress a way.
    const part = b < a ? 0 : Math.max(0, Math.min(1, place - before));
    return (a + (b - a) * part) / WHOLE;
  };
  const words = (s) => {
    if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
    const minutes = Math.floor(s / 60);
    const rest = String(Math.floor(s % 60)).padStart(2, "0");
    return minutes < 60 ? `${minutes}:${rest} min` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest} h`;
  };

  // ---- flows around the moment
  const EDGES_MAX = 1500, LOOKED_AT_MAX = 20000;
  let edges = [];
  let fullRate = 1;
  const gather = () => {
    const seconds = Math.max(sliceS, 0.8, speed * 0.3);
    let back = Math.max(1, Math.min(40, Math.ceil(seconds / sliceS)));
    while (back > 1 && first[slice + 1] - first[Math.max(0, slice + 1 - back)] > LOOKED_AT_MAX) back = Math.ceil(back / 2);
    const start = Math.max(0, slice + 1 - back);
    const sums = new Map();
    for (let at = first[start]; at < first[slice + 1]; at++) {
      const key = from[at] * count + to[at];
      sums.set(key, (sums.get(key) || 0) + kib[at]);
    }
    const span = (slice + 1 - start) * sliceS;
    edges = [...sums].map(([key, sum]) => ({ from: Math.floor(key / count), to: key % count, rate: sum / span }));
    if (edges.length > EDGES_MAX) {
      edges.sort((a, b) => b.rate - a.rate);
      edges.length = EDGES_MAX;
    }
  };
  {
    // A rate that few flows exceed is drawn as the strongest.
    const rates = [];
    for (let at = 0; at < kib.length; at += Math.max(1, Math.floor(kib.length / 4000))) rates.push(kib[at] / sliceS);
    rates.sort((a, b) => a - b);
    fullRate = Math.max(1, rates[Math.floor(rates.length * 0.95)] || 1);
  }

  // ---- where peers are
  const x = new Float32Array(count), y = new Float32Array(count);
  const angle = new Float32Array(count), row = new Uint8Array(count);
  let radius = 8, rows = 1;
  const ringed = [], sources = [], bad = [];
  data.peers.forEach((peer, host) => (isSource(peer) ? sources : isBad(peer) ? bad : ringed).push(host));
  ringed.sort((a, b) => data.peers[a].group - data.peers[b].group || a - b);
  const ringWidth = () => Math.max(20, Math.min(width / 2 - 46, height * 0.86));
  const ringHeight = () => Math.max(20, height / 2 - 34);
  const layOut = () => {
    const groups = new Set(ringed.map((host) => data.peers[host].group)).size;
    const gaps = groups > 1 ? groups * 1.5 : 0;
    let place = 0, group = ringed.length ? data.peers[ringed[0]].group : 0;
    ringed.forEach((host) => {
      if (data.peers[host].group !== group) { place += 1.5; group = data.peers[host].group; }
      angle[host] = -Math.PI / 2 + (2 * Math.PI * place) / (ringed.length + gaps);
      place += 1;
    });
    bad.forEach((host, at) => { angle[host] = -Math.PI / 2 + (2 * Math.PI * (at + 0.5)) / bad.length; });
    const around = Math.PI * (ringWidth() + ringHeight()) * 0.45;
    const room = around / Math.max(1, ringed.length);
    radius = Math.max(3.2, Math.min(11, room * 0.62));
    rows = Math.max(1, Math.min(4, Math.ceil((radius * 2.3) / room)));
    ringed.forEach((host, at) => { row[host] = at % rows; });
  };
  const positions = (at) => {
    const [cx, cy, rx, ry] = [width / 2, height / 2, ringWidth(), ringHeight()];
    for (const host of ringed) {
      const done = progress(host, at);
      const far = 0.94 - 0.46 * done - (row[host] * radius * 2.2) / Math.max(60, ry);
      x[host] = cx + Math.cos(angle[host]) * rx * far;
      y[host] = cy + Math.sin(angle[host]) * ry * far;
    }
    for (const host of bad) {
      x[host] = cx + Math.cos(angle[host]) * rx * 1.03;
      y[host] = cy + Math.sin(angle[host]) * ry * 1.03;
    }
    sources.forEach((host, place) => {
      const far = sources.length === 1 ? 0 : 0.2 * Math.sqrt((place + 0.5) / sources.length);
      x[host] = cx + Math.cos(place * 2.39996) * rx * far;
      y[host] = cy + Math.sin(place * 2.39996) * ry * far;
    });
  };

  // ---- shapes: each kind of peer is told apart without its colour
  const shape = (p, kind, cx, cy, r, fill, part) => {
    p.lineJoin = "round";
    p.beginPath();
    if (kind === "seed") {
      p.rect(cx - r, cy - r, 2 * r, 2 * r);
      p.fillStyle = fill; p.fill();
    } else if (kind === "attacker" || kind === "banned") {
      p.moveTo(cx, cy - r * 1.25); p.lineTo(cx + r * 1.2, cy + r * 0.9); p.lineTo(cx - r * 1.2, cy + r * 0.9); p.closePath();
      if (kind === "attacker") { p.fillStyle = fill; p.fill(); }
      else { p.fillStyle = colors.card; p.fill(); p.strokeStyle = fill; p.lineWidth = 1.5; p.stroke(); }
    } else if (kind === "done") {
      p.arc(cx, cy, r, 0, 7); p.fillStyle = fill; p.fill();
      p.beginPath(); p.moveTo(cx - r * 0.48, cy + r * 0.03); p.lineTo(cx - r * 0.1, cy + r * 0.42); p.lineTo(cx + r * 0.5, cy - r * 0.4);
      p.strokeStyle = colors.card; p.lineWidth = Math.max(1.2, r * 0.26); p.stroke();
    } else if (kind === "leecher") {
      p.arc(cx, cy, r, 0, 7); p.fillStyle = colors.card; p.fill();
      p.strokeStyle = fill; p.lineWidth = 1.2; p.stroke();
      if (part > 0.004) {
        p.beginPath(); p.moveTo(cx, cy); p.arc(cx, cy, r, -Math.PI / 2, -Math.PI / 2 + part * 2 * Math.PI); p.closePath();
        p.fillStyle = fill; p.fill();
      }
    } else if (kind === "crashed") {
      p.moveTo(cx - r * 0.7, cy - r * 0.7); p.lineTo(cx + r * 0.7, cy + r * 0.7); p.moveTo(cx + r * 0.7, cy - r * 0.7); p.lineTo(cx - r * 0.7, cy + r * 0.7);
      p.strokeStyle = fill; p.lineWidth = 2; p.stroke();
    } else {
      p.arc(cx, cy, r * 0.55, 0, 7); p.setLineDash([2, 2]); p.strokeStyle = colors.muted; p.lineWidth = 1; p.stroke(); p.setLineDash([]);
    }
  };
  const kindOf = (host, at) => {
    const peer = data.peers[host], state = stateOf(host, at);
    if (state === "crashed") return "crashed";
    if (state !== "online") return "offline";
    if (isBad(peer)) return lives[host].banned <= at ? "banned" : "attacker";
    if (isSource(peer)) return "seed";
    return lives[host].complete <= at || progress(host, at) >= 1 ? "done" : "leecher";
  };

  // ---- one frame
  const LEVELS = 4;
  const lookAt = (edge) => edge.from === chosen || edge.to === chosen;
  const drawFlows = () => {
    const [cx, cy] = [width / 2, height / 2];
    const paths = new Map();
    for (const edge of edges) {
      const strength = Math.min(1, Math.sqrt(edge.rate / fullRate));
      const level = Math.min(LEVELS - 1, Math.floor(strength * LEVELS));
      const group = data.peers[edge.from].group;
      const dim = chosen >= 0 && !lookAt(edge);
      const key = (group * LEVELS + level) * 2 + (dim ? 1 : 0);
      let path = paths.get(key);
      if (!path) paths.set(key, path = { lines: new Path2D(), blocks: new Path2D(), group, level, dim, bad: isBad(data.peers[edge.from]) });
      const [ax, ay, bx, by] = [x[edge.from], y[edge.from], x[edge.to], y[edge.to]];
      // Bent to one side and a little inwards, so that there and back are two lines.
      const mx = (ax + bx) / 2 + (by - ay) * 0.13 + (cx - (ax + bx) / 2) * 0.16;
      const my = (ay + by) / 2 - (bx - ax) * 0.13 + (cy - (ay + by) / 2) * 0.16;
      path.lines.moveTo(ax, ay);
      path.lines.quadraticCurveTo(mx, my, bx, by);
      if (dim) continue;
      const blocks = 1 + level;
      const size = 2.2 + strength * 1.6;
      for (let block = 0; block < blocks; block++) {
        const part = (flowClock * 0.55 + block / blocks + ((edge.from * 31 + edge.to * 17) % 97) / 97) % 1;
        const rest = 1 - part;
        const px = rest * rest * ax + 2 * rest * part * mx + part * part * bx;
        const py = rest * rest * ay + 2 * rest * part * my + part * part * by;
        if (path.bad) {
          path.blocks.moveTo(px, py - size); path.blocks.lineTo(px + size, py + size); path.blocks.lineTo(px - size, py + size); path.blocks.closePath();
        } else path.blocks.rect(px - size / 2, py - size / 2, size, size);
      }
    }
    for (const path of paths.values()) {
      pen.strokeStyle = groupColors[path.group];
      pen.globalAlpha = path.dim ? 0.05 : 0.14 + 0.13 * path.level;
      pen.lineWidth = 0.7 + 0.45 * path.level;
      if (path.bad) pen.setLineDash([5, 4]);
      pen.stroke(path.lines);
      pen.setLineDash([]);
    }
    for (const path of paths.values()) {
      pen.globalAlpha = 0.95;
      pen.fillStyle = groupColors[path.group];
      pen.fill(path.blocks);
    }
    pen.globalAlpha = 1;
  };
  const drawRings = () => {
    const [cx, cy, rx, ry] = [width / 2, height / 2, ringWidth(), ringHeight()];
    pen.strokeStyle = colors.line;
    pen.fillStyle = colors.muted;
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    pen.textAlign = "center";
    for (const [part, name] of [[0, "0 %"], [0.5, "50 %"], [1, "100 %"]]) {
      const far = 0.94 - 0.46 * part;
      pen.beginPath();
      pen.setLineDash(part === 1 ? [] : [3, 5]);
      pen.lineWidth = 1;
      pen.ellipse(cx, cy, rx * far, ry * far, 0, 0, 7);
      pen.stroke();
      // Beside the peers, where none is.
      const lean = Math.PI / 2 + Math.PI / Math.max(3, ringed.length + 1) * 0.5;
      pen.fillText(name, cx + Math.cos(lean) * rx * far, cy + Math.sin(lean) * ry * far + 13);
    }
    pen.setLineDash([]);
  };
  const draw = () => {
    const began = performance.now();
    const at = sliceAt(now);
    if (at !== slice) { slice = at; if (slices > 0) gather(); }
    pen.clearRect(0, 0, width, height);
    positions(now);
    drawRings();
    drawFlows();
    let online = 0, finished = 0;
    pen.textAlign = "center";
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    for (let host = 0; host < count; host++) {
      const peer = data.peers[host], kind = kindOf(host, now);
      if (kind !== "offline" && kind !== "crashed") online++;
      if (Number.isFinite(lives[host].complete) && lives[host].complete <= now) finished++;
      const r = isSource(peer) ? radius * 1.05 : radius;
      const dim = chosen >= 0 && host !== chosen && !edges.some((edge) => lookAt(edge) && (edge.from === host || edge.to === host));
      pen.globalAlpha = dim ? 0.35 : 1;
      shape(pen, kind, x[host], y[host], r, groupColors[peer.group], progress(host, now));
      if (host === chosen || host === hovered) {
        pen.beginPath(); pen.arc(x[host], y[host], r + 5, 0, 7);
        pen.strokeStyle = colors.ink; pen.lineWidth = 1.5; pen.stroke();
      }
      if (host === chosen || count <= 24 || (sources.length <= 4 && isSource(peer))) {
        pen.fillStyle = colors.ink;
        pen.fillText(peer.name, x[host], y[host] + r + 14);
      }
    }
    pen.globalAlpha = 1;
    told(online, finished);
    frames++;
    drawMs += performance.now() - began;
  };
  let toldText = "";
  const told = (online, finished) => {
    const text = `${words(now)}|${online}|${finished}`;
    if (text !== toldText) {
      toldText = text;
      const time = document.createElement("b");
      time.textContent = words(now);
      clock.replaceChildren(time, `\n${online} online\n${finished} finished`);
    }
    const active = data.faults.filter(([, began, ended]) => now >= began && now <= (ended ?? began + end * 0.01)).map(([name]) => name);
    faultBox.hidden = active.length === 0;
    if (active.length) faultBox.textContent = `⚠ ${active.slice(0, 3).join(", ")}${active.length > 3 ? " …" : ""}`;
    if (document.activeElement !== scrub || playing) scrub.value = String(Math.round((now / end) * 10000));
    const looked = hovered >= 0 ? hovered : chosen;
    tip.hidden = looked < 0;
    if (looked >= 0) {
      tip.textContent = about(looked);
      const [left, top] = [Math.min(x[looked] + 14, width - tip.offsetWidth - 4), Math.min(y[looked] + 12, height - tip.offsetHeight - 4)];
      tip.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`;
    }
  };
  const rateWords = (kibs) => (kibs >= 1024 ? `${(kibs / 1024).toFixed(1)} MiB/s` : `${Math.round(kibs)} KiB/s`);
  const about = (host) => {
    const peer = data.peers[host];
    const kind = { seed: "seed", done: "finished", leecher: "has " + Math.floor(progress(host, now) * 100) + " %", attacker: "attacker", banned: "attacker, banned by somebody", crashed: "crashed", offline: "offline" }[kindOf(host, now)];
    const sum = (end) => edges.reduce((all, edge) => all + (edge[end] === host ? edge.rate : 0), 0);
    return `${peer.name} (${data.groups[peer.group][0]})\n${kind}\n↑ ${rateWords(sum("from"))}  ↓ ${rateWords(sum("to"))}`;
  };

  // ---- the line of time
  const drawOverview = () => {
    const scale = fit(overview);
    const p = overview.getContext("2d"), [w, h] = [overview.width / scale, overview.height / scale];
    p.setTransform(scale, 0, 0, scale, 0, 0);
    p.clearRect(0, 0, w, h);
    p.fillStyle = colors.bg;
    p.fillRect(0, 0, w, h);
    for (const [, began, ended] of data.faults) {
      p.fillStyle = colors.fault;
      p.fillRect((began / end) * w, 0, Math.max(2, (((ended ?? began) - began) / end) * w), h);
    }
    const columns = Math.max(1, Math.floor(w));
    // Of each column, the mean of the slices that it shows.
    const sums = Float64Array.from({ length: columns }, (_, column) => {
      const start = sliceAt((column / columns) * end);
      const stop = Math.max(start + 1, sliceAt(((column + 1) / columns) * end));
      let sum = 0;
      for (let at = start; at < stop; at++) sum += data.sent[at] || 0;
      return sum / (stop - start);
    });
    const sorted = [...sums].sort((a, b) => a - b);
    const most = sorted[Math.floor(sorted.length * 0.99)] || 1;
    p.beginPath();
    p.moveTo(0, h);
    sums.forEach((sum, at) => p.lineTo(at, h - Math.min(1, sum / most) * (h - 12)));
    p.lineTo(w, h);
    p.fillStyle = colors.fill;
    p.fill();
    p.fillStyle = colors.good;
    for (const at of finishes) p.fillRect((at / end) * w - 0.5, 0, 1.2, 6);
  };
  const fit = (of) => {
    const scale = Math.min(2, devicePixelRatio || 1);
    const box = of.getBoundingClientRect();
    const [w, h] = [Math.max(1, Math.round(box.width * scale)), Math.max(1, Math.round(box.height * scale))];
    if (of.width !== w || of.height !== h) { of.width = w; of.height = h; }
    return scale;
  };
  const resized = () => {
    const scale = fit(canvas);
    width = canvas.width / scale;
    height = canvas.height / scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    layOut();
    drawOverview();
    // Another size is an empty canvas, which nobody should see.
    draw();
  };
  const recolor = () => {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(`--${name}`).trim();
    colors = Object.fromEntries(["ink", "card", "bg", "line", "muted", "fault", "fill", "good"].map((name) => [name, get(name)]));
    groupColors = data.groups.map(([, name]) => get(/--([a-z0-9]+)/.exec(name)[1]));
    for (const small of document.querySelectorAll("canvas[data-shape]")) {
      const scale = fit(small), p = small.getContext("2d");
      p.setTransform(scale, 0, 0, scale, 0, 0);
      p.clearRect(0, 0, 20, 20);
      const kind = small.dataset.shape;
      shape(p, kind, 10, 10, kind === "attacker" ? 6.5 : 7.5, colors.ink, 0.4);
    }
    drawOverview();
    dirty = true;
  };

  // ---- controls
  const say = (text) => { says.textContent = text; };
  const tell = () => say(`Paused at ${words(now)}.${chosen >= 0 ? " " + about(chosen).replaceAll("\n", ", ") + "." : ""}`);
  const setPlaying = (on) => {
    if (on && now >= end) seek(0);
    playing = on;
    play.textContent = on ? "❚❚ pause" : "▶ play";
    play.setAttribute("aria-pressed", String(on));
    if (!on) tell();
    else say("");
    dirty = true;
  };
  const seek = (at) => {
    now = Math.max(0, Math.min(end, at));
    scrub.setAttribute("aria-valuetext", words(now));
    if (!playing) tell();
    dirty = true;
  };
  const choose = (host) => {
    chosen = host;
    say(host < 0 ? "" : about(host).replaceAll("\n", ", ") + ".");
    dirty = true;
  };
  // The next peer that is online.
  const next = (by) => {
    let host = chosen < 0 && by < 0 ? 0 : chosen;
    for (let tried = 0; tried < count; tried++) {
      host = (host + by + count) % count;
      if (stateOf(host, now) === "online") return host;
    }
    return chosen;
  };
  const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  const fitting = SPEEDS.reduce((best, one) => (Math.abs(Math.log(one * 40 / end)) < Math.abs(Math.log(best * 40 / end)) ? one : best));
  for (const one of SPEEDS) {
    if (one < fitting / 25 || one > fitting * 25) continue;
    const option = new Option(`${one} ×`, String(one), one === fitting, one === fitting);
    speedBox.add(option);
  }
  const setSpeed = (one) => { speed = one; speedBox.value = String(one); slice = -1; dirty = true; };
  setSpeed(fitting);
  play.addEventListener("click", () => setPlaying(!playing));
  restart.addEventListener("click", () => seek(0));
  speedBox.addEventListener("change", () => setSpeed(Number(speedBox.value)));
  scrub.addEventListener("input", () => { const on = playing; if (on) setPlaying(false); seek((Number(scrub.value) / 10000) * end); });
  const step = (by) => {
    const at = speedBox.selectedIndex + by;
    if (at >= 0 && at < speedBox.options.length) setSpeed(Number(speedBox.options[at].value));
  };
  canvas.addEventListener("keydown", (event) => {
    const known = {
      " ": () => setPlaying(!playing),
      ArrowLeft: () => seek(now - end / 100),
      ArrowRight: () => seek(now + end / 100),
      Home: () => seek(0),
      End: () => seek(end),
      ArrowDown: () => choose(next(1)),
      ArrowUp: () => choose(next(-1)),
      Escape: () => choose(-1),
      "+": () => step(1),
      "-": () => step(-1),
    }[event.key];
    if (!known || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    known();
  });
  const near = (event) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1, least = (radius + 6) ** 2;
    for (let host = 0; host < count; host++) {
      const far = (x[host] - px) ** 2 + (y[host] - py) ** 2;
      if (far < least) { least = far; best = host; }
    }
    return best;
  };
  canvas.addEventListener("pointermove", (event) => {
    const host = near(event);
    if (host !== hovered) { hovered = host; canvas.style.cursor = host >= 0 ? "pointer" : ""; dirty = true; }
  });
  canvas.addEventListener("pointerleave", () => { hovered = -1; dirty = true; });
  canvas.addEventListener("click", (event) => { const host = near(event); choose(host === chosen ? -1 : host); });

  // ---- the clock of the screen
  let before = 0;
  const tick = (at) => {
    requestAnimationFrame(tick);
    const passed = Math.min(0.1, (at - before) / 1000);
    before = at;
    if (!visible) return;
    if (playing) {
      flowClock += passed;
      seek(now + passed * speed);
      if (now >= end) setPlaying(false);
    }
    if (dirty) { dirty = false; draw(); }
  };
  let began = false;
  new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    if (entry.intersectionRatio >= 0.35 && !began) { began = true; if (!calm.matches) setPlaying(true); }
  }, { threshold: [0, 0.35] }).observe(canvas);
  new ResizeObserver(resized).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
  recolor();
  resized();
  requestAnimationFrame(tick);

  // For tests: what is shown, and what a frame costs.
  window.skepSwarm = {
    state: () => ({ now, end, playing, speed, frames, drawMs, edges: edges.length, peers: count, slices, flows: from.length, chosen, online: data.peers.filter((_, host) => stateOf(host, now) === "online").length }),
    kinds: () => data.peers.map((_, host) => kindOf(host, now)),
    play: () => setPlaying(true),
    pause: () => setPlaying(false),
    seek,
  };
})();
