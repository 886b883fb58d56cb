(() => {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const form = viewer.querySelector("form"), images = [...viewer.querySelectorAll("img")];
  const name = viewer.querySelector("output b"), place = viewer.querySelector("output span");
  const positions = viewer.dataset.positions.split(" ").map(Number);
  const names = [...form.querySelectorAll("[name=arm] + span")].map((span) => span.textContent);
  const chosen = () => (form.arm ? Number(new FormData(form).get("arm")) : 0);
  const draw = () => {
    const at = Number(form.slice.value), shown = chosen();
    const z = Math.round(positions[at]), text = `z ${z < 0 ? "−" : "+"}${Math.abs(z)} mm`;
    viewer.style.setProperty("--at", at);
    form.slice.setAttribute("aria-valuetext", text);
    images.forEach((image, i) => image.classList.toggle("off", i !== shown));
    if (names.length) name.textContent = names[shown];
    place.textContent = text;
  };
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  viewer.querySelector(".frame").addEventListener("wheel", (event) => {
    if (!event.ctrlKey && event.shiftKey) {
      event.preventDefault();
      form.slice.value = Number(form.slice.value) + Math.sign(event.deltaY || event.deltaX);
      draw();
    }
  }, { passive: false });
  form.reset();
  form.hidden = false;
  draw();
})();
