(() => {
  const root = document.getElementById("viewer");
  if (!root) return;
  const form = root.querySelector("form"), planes = [...root.querySelectorAll(".plane")], section = root.parentElement;
  const { shape, affine, start, labels: numbers, levels } = JSON.parse(root.dataset.box);
  const stored = [...root.querySelectorAll(".stored img[data-quantity]")], outlines = [...root.querySelectorAll("img.labels")];
  const names = [...root.querySelectorAll(".here dt")].map((term) => term.textContent);
  const [least, most] = root.dataset.difference.split(" ").map(Number), volumes = new Map(), windows = new Map();
  const colours = root.dataset.colours.match(/../g).map((hex) => parseInt(hex, 16));
  let place = [...start], second = false, timer = null, waiting = 0, announcing = 0;

  // Volumes: an image is unpacked once, when it is first asked for.
  const unpack = (image) => {
    const n = image.dataset.shape.split(" ").map(Number), tiles = Number(image.dataset.tiles);
    const canvas = document.createElement("canvas"), width = (canvas.width = image.naturalWidth);
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true }), grey = new Uint8Array(n[0] * n[1] * n[2]);
    context.drawImage(image, 0, 0);
    const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let k = 0, i = 0; k < n[2]; k++)
      for (let r = 0; r < n[1]; r++) {
        const from = (Math.floor(k / tiles) * n[1] + r) * width + (k % tiles) * n[0];
        for (let c = 0; c < n[0]; c++) grey[i++] = rgba[4 * (from + c)];
      }
    return { n, grey };
  };
  const volume = (image) => {
    if (!image || volumes.has(image)) return image ? volumes.get(image) : null;
    volumes.set(image, null);
    image.decode().then(() => { volumes.set(image, unpack(image)); draw(); });
    return null;
  };

  // What is chosen.
  const quantity = () => form.querySelector("[name=quantity]:checked");
  const find = (layer) => stored.find((image) => image.dataset.quantity === quantity().value && Number(image.dataset.layer) === layer);
  const chosen = (which) => {
    const radio = form.querySelector(`[name=${which}]:checked`);
    return radio ? Number(radio.value) : 0;
  };
  const front = () => chosen(second ? "second" : "first");
  const ends = (name) => quantity().dataset[name].split(" ").map(Number);
  const shownWindow = () => windows.get(quantity().value) || ends("window");
  const signed = (value, decimals) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(decimals)}`.replace(/^[−+](0(\.0+)?)$/, "$1");
  const scaled = (value) => `${quantity().dataset.signed === undefined || value < 0 ? "" : "+"}${Number(value.toPrecision(3))}`.replace("-", "−").replace(/^[+−]0$/, "0");
  const whereMm = () => affine.map((row) => row[0] * place[0] + row[1] * place[1] + row[2] * place[2] + row[3]);
  const at = (n, axis) => Math.min(n[axis] - 1, Math.floor(((place[axis] + 0.5) * n[axis]) / shape[axis]));
  const here = ({ n, grey }) => grey[(at(n, 2) * n[1] + at(n, 1)) * n[0] + at(n, 0)];
  const told = (grey) => {
    if (!grey) return "–";
    const { factor, decimals, signed: isSigned } = quantity().dataset, [low, high] = ends("range");
    const value = factor * (low + ((grey - 1) * (high - low)) / levels);
    const bound = grey === levels + 1 ? "≥ " : grey === 1 && isSigned !== undefined ? "≤ " : "";
    return bound + (isSigned === undefined ? value.toFixed(decimals) : signed(value, Number(decimals)));
  };
  const nucleus = (image) => {
    const labels = image && image.dataset.labels !== undefined ? volume(outlines[Number(image.dataset.labels)]) : null;
    const number = labels ? here(labels) : 0;
    return number ? numbers[number - 1][1] : "";
  };

  // Drawing of one plane.
  const axesOf = (plane) => plane.dataset.axes.split(" ").map(Number);
  const cut = ({ n, grey }, [across, down, through]) => {
    const stride = [1, n[0], n[0] * n[1]], out = new Uint8Array(n[across] * n[down]), from = at(n, through) * stride[through];
    for (let r = 0, i = 0; r < n[down]; r++) {
      // Slices are stored from the lowest up, and shown from the highest down.
      const line = from + (down === 2 ? n[2] - 1 - r : r) * stride[down];
      for (let c = 0; c < n[across]; c++) out[i++] = grey[line + c * stride[across]];
    }
    return { columns: n[across], rows: n[down], values: out };
  };
  const paint = (plane, { columns, rows }, colour) => {
    const canvas = plane.querySelector("canvas");
    if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = colour(i);
    context.putImageData(image, 0, 0);
  };
  const grey = (plane, one) => {
    const [low, high] = ends("range"), [from, to] = shownWindow(), table = new Uint32Array(256).fill(0xff000000);
    for (let g = 1; g < 256; g++) {
      const value = low + ((g - 1) * (high - low)) / levels;
      const shade = Math.round(255 * Math.min(1, Math.max(0, (value - from) / (to - from))));
      table[g] = 0xff000000 | (shade << 16) | (shade << 8) | shade;
    }
    paint(plane, one, (i) => table[one.values[i]]);
  };
  const subtract = (plane, one, other) => {
    const [low, high] = ends("range"), gain = (high - low) / levels / (most - least), last = colours.length / 3 - 1;
    paint(plane, one, (i) => {
      const a = one.values[i], b = other.values[i];
      // 0 is outside a mask: nothing can be said there.
      const c = 3 * Math.round(last * (a && b ? Math.min(1, Math.max(0, 0.5 + gain * (a - b))) : 0.5));
      return (0xff000000 | (colours[c + 2] << 16) | (colours[c + 1] << 8) | colours[c]) >>> 0;
    });
  };
  const outline = (plane, labels) => {
    const paths = [...plane.querySelectorAll(".drawn path")], found = paths.map(() => ""), axes = axesOf(plane);
    if (labels) {
      const { columns, rows, values } = cut(labels, axes), x = shape[axes[0]] / columns, y = shape[axes[1]] / rows;
      const kind = (c, r) => { const v = c < 0 || r < 0 || c >= columns || r >= rows ? 0 : values[r * columns + c]; return v ? numbers[v - 1][0] : -1; };
      for (let r = 0; r <= rows; r++)
        for (let c = 0; c <= columns; c++) {
          const corner = [kind(c - 1, r - 1), kind(c, r - 1), kind(c, r), kind(c - 1, r)];
          if (corner.every((one) => one === corner[0])) continue;
          // Lines run between the middles of those sides of a square of four pixels that a nucleus is left on.
          const middle = [[c, r - 0.5], [c + 0.5, r], [c, r + 0.5], [c - 0.5, r]].map(([u, v]) => `${u * x} ${v * y}`);
          for (const one of new Set(corner)) {
            const sides = one < 0 ? [] : [0, 1, 2, 3].filter((i) => (corner[i] === one) !== (corner[(i + 1) % 4] === one));
            for (let i = 0; i < sides.length; i += 2) found[one] += `M${middle[sides[i]]}L${middle[sides[i + 1]]}`;
          }
        }
    }
    paths.forEach((path, i) => path.setAttribute("d", found[i]));
  };
  const cross = (plane, [across, down]) => {
    const u = place[across] + 0.5, v = (down === 2 ? shape[2] - 1 - place[2] : place[down]) + 0.5, gap = 0.025 * shape[across], high = (gap * shape[down]) / shape[across];
    const path = `M0 ${v}H${u - gap}M${u + gap} ${v}H${shape[across]}M${u} 0V${v - high}M${u} ${v + high}V${shape[down]}`;
    plane.querySelector(".cross").setAttribute("d", form.crossed.checked ? path : "");
  };

  const bar = () => {
    const [low, high] = ends("range"), [from, to] = shownWindow(), [left, right] = section.querySelectorAll(".shown span");
    const unit = quantity().dataset.scaleUnit;
    left.textContent = scaled(from);
    right.textContent = `${scaled(to)} ${unit}`;
    section.querySelector(".shown").setAttribute("aria-label", `Scale from ${left.textContent} to ${right.textContent}`);
    form.level.value = (100 * ((from + to) / 2 - low)) / (high - low);
    form.width.value = (100 * (to - from)) / (high - low);
    for (const [input, value] of [[form.level, (from + to) / 2], [form.width, to - from]]) {
      const words = `${scaled(value).replace(input === form.width ? "+" : "", "")} ${unit}`;
      input.parentElement.querySelector("output").textContent = words;
      input.setAttribute("aria-valuetext", words);
    }
  };
  const readout = (mm, image) => {
    const where = mm.map((value, i) => `${"xyz"[i]} ${signed(value, 0)}`).join("  ");
    root.querySelector(".position").textContent = `${where} mm`;
    root.querySelector(".nucleus").textContent = nucleus(image);
    root.querySelectorAll(".here dl div").forEach((item, layer) => {
      const other = find(layer), data = volume(other), text = data ? told(here(data)) : "–";
      item.hidden = !other;
      item.classList.toggle("front", layer === front());
      item.querySelector("dd span").textContent = text;
      item.querySelector("dd small").textContent = text === "–" ? "" : quantity().dataset.unit;
    });
  };
  const render = () => {
    waiting = 0;
    const image = find(front()), first = find(chosen("first")), other = find(chosen("second")), mm = whereMm();
    const able = Boolean(first && other && "comparable" in first.dataset && "comparable" in other.dataset);
    if (form.difference) form.difference.disabled = !able;
    const differs = able && Boolean(form.difference) && form.difference.checked;
    const shown = volume(differs ? first : image), less = differs ? volume(other) : null;
    const labels = image && image.dataset.labels !== undefined && form.outlined && form.outlined.checked ? volume(outlines[Number(image.dataset.labels)]) : null;
    const letter = names.length > 1 ? `${second ? "B" : "A"} · ` : "";
    const title = differs ? `${names[chosen("first")]} − ${names[chosen("second")]}` : letter + names[front()];
    for (const plane of planes) {
      const axes = axesOf(plane), through = axes[2], letterMm = `${"xyz"[through]} ${signed(mm[through], 0)} mm`;
      if (shown && differs && less) subtract(plane, cut(shown, axes), cut(less, axes));
      else if (shown && !differs) grey(plane, cut(shown, axes));
      outline(plane, labels);
      cross(plane, axes);
      const slider = plane.querySelector("input"), name = plane.querySelector(".slide span").textContent;
      slider.max = shape[through] - 1;
      slider.value = through === 2 ? place[2] : shape[through] - 1 - place[through];
      slider.setAttribute("aria-valuetext", letterMm);
      plane.querySelector(".caption b").textContent = title;
      plane.querySelector(".caption span").textContent = letterMm;
      plane.querySelector("canvas").setAttribute("aria-label", `${name} plane at ${letterMm}: ${quantity().nextElementSibling.textContent}, ${title}`);
      plane.querySelector(".frame").title = image && !differs ? image.dataset.how : "";
    }
    section.querySelector(".differing").hidden = !differs;
    section.querySelector(".shown").hidden = differs;
    if (form.period) form.period.parentElement.querySelector("output").textContent = `${(form.period.value / 1000).toFixed(2)} s`;
    bar();
    readout(mm, image);
    root.dataset.place = place.join(" ");
  };
  const draw = () => { waiting = waiting || requestAnimationFrame(render); };
  const announce = () => {
    clearTimeout(announcing);
    // Once the hand rests: a reader that speaks each step of a drag says nothing in the end.
    announcing = setTimeout(() => {
      const image = find(front()), data = volume(image), value = data ? `${names[front()]} ${told(here(data))} ${quantity().dataset.unit}` : names[front()];
      root.querySelector("[role=status]").textContent = [root.querySelector(".position").textContent, nucleus(image), value].filter(Boolean).join("; ");
    }, 400);
  };

  // What hands do.
  const move = (axis, to) => {
    place[axis] = Math.min(shape[axis] - 1, Math.max(0, Math.round(to)));
    draw();
    announce();
  };
  const point = (plane, event) => {
    const box = plane.querySelector(".frame").getBoundingClientRect(), [across, down] = axesOf(plane);
    const row = Math.floor((shape[down] * (event.clientY - box.top)) / box.height);
    move(across, Math.floor((shape[across] * (event.clientX - box.left)) / box.width));
    move(down, down === 2 ? shape[2] - 1 - row : row);
  };
  const swap = () => { if (names.length > 1) { second = !second; draw(); if (timer === null) announce(); } };
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(swap, Number(form.period.value)) : null;
    form.play.setAttribute("aria-pressed", String(on));
    form.play.querySelector("span").textContent = on ? "Stop" : "Flicker";
    if (on) form.difference.checked = false;
    else second = false;
    draw();
  };
  const step = (plane, key) => {
    const [across, down, through] = axesOf(plane), up = (axis) => (axis === 2 ? 1 : -1);
    const steps = { ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowUp: [down, up(down)], ArrowDown: [down, -up(down)], PageUp: [through, up(through)], PageDown: [through, -up(through)] };
    if (!steps[key]) return false;
    move(steps[key][0], place[steps[key][0]] + steps[key][1]);
    return true;
  };
  const home = () => { place = [...start]; draw(); announce(); };

  planes.forEach((plane) => {
    const frame = plane.querySelector(".frame");
    frame.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      frame.setPointerCapture(event.pointerId);
      frame.focus({ preventScroll: true });
      point(plane, event);
    });
    frame.addEventListener("pointermove", (event) => { if (frame.hasPointerCapture(event.pointerId)) point(plane, event); });
    frame.addEventListener("wheel", (event) => {
      if (event.ctrlKey || !event.shiftKey) return;
      event.preventDefault();
      step(plane, (event.deltaY || event.deltaX) < 0 ? "PageUp" : "PageDown");
    }, { passive: false });
    plane.querySelector("input").addEventListener("input", (event) => {
      const through = axesOf(plane)[2], value = Number(event.target.value);
      move(through, through === 2 ? value : shape[through] - 1 - value);
    });
  });
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const frame = event.target.closest(".frame"), key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const box = { d: form.difference, o: form.outlined, c: form.crossed }[key];
    if (frame && step(frame.parentElement, key)) event.preventDefault();
    else if (frame && key === "Home") event.preventDefault(), home();
    else if (key === " " && !event.target.closest("button, input")) event.preventDefault(), swap();
    else if (key === "p" && form.play) event.preventDefault(), play(timer === null);
    else if (box && !box.disabled) event.preventDefault(), box.click();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    const { name } = target;
    if (name === "first" || name === "second") second = name === "second" && timer === null;
    if (name === "difference" && target.checked && timer !== null) play(false), (target.checked = true);
    if (name === "period" && timer !== null) play(true);
    if (name === "level" || name === "width") {
      const [low, high] = ends("range"), middle = low + (form.level.value / 100) * (high - low), half = (form.width.value / 200) * (high - low);
      windows.set(quantity().value, [middle - half, middle + half]);
    }
    if (name === "quantity") choose();
    draw();
  });
  const choose = () => {
    for (const which of ["first", "second"]) {
      const radios = [...form.querySelectorAll(`[name=${which}]`)];
      radios.forEach((radio) => { radio.disabled = !find(Number(radio.value)); });
      const free = radios.filter((radio) => !radio.disabled);
      if (free.length && !free.some((radio) => radio.checked)) free[Math.min(free.length - 1, which === "second" ? 1 : 0)].checked = true;
    }
  };
  if (form.other) form.other.addEventListener("click", swap);
  if (form.play) form.play.addEventListener("click", () => play(timer === null));
  form.back.addEventListener("click", () => { windows.clear(); home(); });
  form.full.hidden = !document.fullscreenEnabled;
  form.full.addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()));
  document.addEventListener("visibilitychange", () => { if (document.hidden && timer !== null) play(false); });
  form.reset();
  root.hidden = false;
  section.querySelector(".unscripted").hidden = true;
  choose();
  draw();
})();
