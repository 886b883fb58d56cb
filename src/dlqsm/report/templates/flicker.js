(() => {
  const root = document.querySelector(".flicker");
  if (!root) return;
  const form = root.querySelector("form"), planes = [...root.querySelectorAll(".plane")];
  const names = [...form.querySelectorAll("[name=first] + span")].map((span) => span.textContent);
  const colours = root.dataset.colours.match(/../g).map((hex) => parseInt(hex, 16)), gain = Number(root.dataset.gain);
  const steps = colours.length / 3 - 1, cache = new Map();
  let timer = null, second = false;
  const layer = (which) => Number(new FormData(form).get(which));
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(Math.round(value))} mm`;

  const grey = (plane, index) => {
    const key = `${plane.dataset.axis}${index}`;
    if (!cache.has(key)) {
      const image = plane.querySelectorAll("img")[index], canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      cache.set(key, context.getImageData(0, 0, canvas.width, canvas.height).data);
    }
    return cache.get(key);
  };

  const subtract = (plane, at) => {
    const columns = Number(plane.dataset.columns), rows = Number(plane.dataset.rows), start = 4 * columns * rows * at;
    const a = grey(plane, layer("first")), b = grey(plane, layer("second"));
    const canvas = plane.querySelector("canvas"), context = canvas.getContext("2d"), out = context.createImageData(columns, rows);
    for (let i = 0; i < out.data.length; i += 4) {
      const one = a[start + i], other = b[start + i];
      // 0 is outside a mask: nothing can be said there.
      const fraction = one && other ? Math.min(1, Math.max(0, 0.5 + (gain * (one - other)) / 255)) : 0.5;
      const c = 3 * Math.round(fraction * steps);
      out.data.set([colours[c], colours[c + 1], colours[c + 2], 255], i);
    }
    context.putImageData(out, 0, 0);
  };

  const draw = () => {
    const shown = layer(second ? "second" : "first"), differ = form.difference.checked;
    for (const plane of planes) {
      const slider = plane.querySelector("input"), at = Number(slider.value);
      const place = `${plane.dataset.axis} ${signed(Number(plane.dataset.positions.split(" ")[at]))}`;
      plane.style.setProperty("--at", at);
      slider.setAttribute("aria-valuetext", place);
      plane.querySelectorAll("img").forEach((image, i) => image.classList.toggle("off", i !== shown));
      plane.querySelector("canvas").hidden = !differ;
      if (differ) subtract(plane, at);
      const title = differ ? `${names[layer("first")]} − ${names[layer("second")]}` : `${second ? "B" : "A"} · ${names[shown]}`;
      plane.querySelector(".caption b").textContent = title;
      plane.querySelector(".caption span").textContent = place;
    }
    root.querySelector(".differing").hidden = !differ;
    form.querySelector("output").textContent = `${(form.period.value / 1000).toFixed(2)} s`;
  };

  const swap = () => { second = !second; draw(); };
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(swap, Number(form.period.value)) : null;
    form.play.setAttribute("aria-pressed", String(on));
    form.play.querySelector("span").textContent = on ? "Stop" : "Flicker";
    if (on) form.difference.checked = false;
    else second = false;
    draw();
  };

  form.other.addEventListener("click", swap);
  form.play.addEventListener("click", () => play(timer === null));
  form.addEventListener("submit", (event) => event.preventDefault());
  root.addEventListener("input", (event) => {
    const { name } = event.target;
    if (name === "first" || name === "second") second = name === "second" && timer === null;
    if (name === "difference" && form.difference.checked && timer !== null) play(false), (form.difference.checked = true);
    if (name === "period" && timer !== null) play(true);
    else draw();
  });
  root.addEventListener("keydown", (event) => {
    const typing = event.target.closest("button, input");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !typing) { event.preventDefault(); swap(); }
    if (event.key === "p" || event.key === "P") { event.preventDefault(); play(timer === null); }
  });
  planes.forEach((plane) => plane.querySelector(".frame").addEventListener("click", () => { root.focus({ preventScroll: true }); swap(); }));
  document.addEventListener("visibilitychange", () => { if (document.hidden && timer !== null) play(false); });
  form.reset();
  planes.forEach((plane) => { const slider = plane.querySelector("input"); slider.value = slider.defaultValue; });
  root.querySelectorAll("[hidden]").forEach((part) => { if (part.matches("form, label, p")) part.hidden = false; });
  draw();
})();
