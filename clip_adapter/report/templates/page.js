// Without this script everything is there: figures as pictures, and colours by the switch.
(() => {
  "use strict";
  const remembered = "clip-adapter-colours";
  const store = (act) => { try { return act(window.localStorage); } catch { return null; } };
  const chosen = store((kept) => kept.getItem(remembered));
  for (const input of document.querySelectorAll("input[name=scheme]")) {
    if (input.value === chosen) input.checked = true;
    input.addEventListener("change", () => store((kept) => kept.setItem(remembered, input.value)));
  }

  const wide = window.matchMedia("(min-width: 68rem)");
  const contents = document.querySelector(".contents details");
  const fold = () => { contents.open = wide.matches; };
  wide.addEventListener("change", fold);
  fold();

  const links = new Map();
  for (const link of document.querySelectorAll(".contents a")) links.set(link.hash.slice(1), link);
  let current = null;
  const follow = () => {
    let found = null;
    for (const name of links.keys()) {
      const place = document.getElementById(name);
      if (place && place.getBoundingClientRect().top < window.innerHeight / 3) found = links.get(name);
    }
    if (found === current) return;
    if (current) current.removeAttribute("aria-current");
    if (found) found.setAttribute("aria-current", "true");
    current = found;
  };
  let waiting = false;
  document.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; follow(); });
  }, { passive: true });
  follow();

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")].filter((each) => !each.closest(".source"));
    for (const each of opened) each.open = true;
  });
  window.addEventListener("afterprint", () => { for (const each of opened) each.open = false; });

  const draw = async (frame) => {
    const specification = document.querySelector(`script[data-for="${CSS.escape(frame.dataset.figure)}"]`);
    const still = frame.querySelector(".still");
    const holder = document.createElement("div");
    holder.className = "live";
    holder.setAttribute("aria-hidden", "true");
    frame.append(holder);
    await window.vegaEmbed(holder, JSON.parse(specification.textContent), {
      actions: false, ast: true, renderer: "svg", tooltip: { disableDefaultStyle: false },
    });
    still.hidden = true;
  };
  if (!window.vegaEmbed) return;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "300px" });
  for (const frame of document.querySelectorAll(".plot")) seen.observe(frame);
})();
