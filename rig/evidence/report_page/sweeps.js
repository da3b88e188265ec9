"use strict";
(() => {
  const section = document.getElementById("cuts"), classes = JSON.parse(section.dataset.classes);
  const told = section.querySelector(".told");
  let marked = null, pin = null;
  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    made.className = name;
    made.textContent = text ?? "";
    return made;
  };
  const sign = (number) => {
    const [letter, name, severity, colour] = classes[number], made = make("b", "sign " + severity, letter);
    made.style.setProperty("--w", `var(${colour})`);
    return [made, " " + name];
  };

  section.querySelectorAll(".map").forEach((map) => {
    const cells = map.querySelector(".cells"), name = map.dataset.name;
    const shapes = JSON.parse(map.dataset.shapes), runs = JSON.parse(map.dataset.runs);
    if (!runs.length) return;
    const first = runs[0][0], last = runs.at(-1)[0] + runs.at(-1)[1] - 1;
    let at = first, pieces = [...cells.querySelectorAll("[data-n]")];

    const what = (number) => {
      const run = runs.find((r) => number < r[0] + r[1]), [start, , shape, value, step, after, worst, images] = run;
      const text = shapes[shape].join("0x" + (value + step * (number - start)).toString(16));
      return { image: `${name}/m${String(number).padStart(4, "0")}`, text, after, worst, images };
    };
    const from = (piece) => Number(piece.dataset.n), span = (piece) => Number(piece.dataset.count ?? 1);
    const closed = (piece) => piece.dataset.count && !piece.classList.contains("open");
    const place = (number) => pieces.findLastIndex((p) => from(p) <= number);

    const mark = () => {
      marked?.classList.remove("at");
      pin?.remove();
      marked = pieces[place(at)];
      if (!closed(marked)) return marked.classList.add("at");
      pin = make("u", "pin");
      pin.style.left = (100 * (at - from(marked) + 0.5)) / span(marked) + "%";
      marked.append(pin);
    };
    const show = (number) => {
      const next = runs.findIndex((r) => number < r[0] + r[1]), gap = next > 0 && number < runs[next][0];
      if (gap) number = number > at ? runs[next][0] : runs[next - 1][0] + runs[next - 1][1] - 1;
      at = Math.min(last, Math.max(first, number));
      const { image, text, after, worst, images } = what(at);
      const said = [make("b", "", image), " " + text, make("br"), "Cut right after it: ", ...sign(after)];
      if (images > 1) said.push(`; the worst of ${images} crash images: `, ...sign(worst));
      told.replaceChildren(...said, make("br"), make("code", "command", "rig crash replay " + image));
      mark();
      cells.setAttribute("aria-valuenow", at);
      cells.setAttribute("aria-valuetext", `${at}: ${text}. Right after it: ${classes[after][1]}. Worst: ${classes[worst][1]}`);
    };
    const toggle = (piece) => {
      const stretch = piece.closest(".stretch");
      if (closed(piece)) {
        const all = make("span", "unfolded");
        all.style.cssText = piece.style.cssText;
        for (let number = from(piece); number < from(piece) + span(piece); number++) {
          const cell = make("i", "tiny " + classes[what(number).worst][2]);
          cell.dataset.n = number;
          all.append(cell);
        }
        piece.closest(".line-of").after(all);
        all.dataset.of = piece.dataset.n;
      } else stretch.querySelector(`[data-of="${piece.dataset.n}"]`).remove();
      piece.classList.toggle("open");
      stretch.classList.toggle("wide-open", Boolean(stretch.querySelector(".unfolded")));
      pieces = [...cells.querySelectorAll("[data-n]")].sort((a, b) => from(a) - from(b));
      show(at);
    };
    const under = (event) => {
      const piece = event.target.closest("[data-n]");
      if (!piece) return;
      const box = piece.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
      show(from(piece) + Math.min(span(piece) - 1, Math.max(0, Math.floor(share * span(piece)))));
    };

    pieces.forEach((piece) => piece.removeAttribute("title"));
    const label = cells.getAttribute("aria-label").split(":")[0];
    const facts = { role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": first, "aria-valuemax": last };
    Object.entries({ ...facts, "aria-valuenow": first }).forEach(([key, value]) => cells.setAttribute(key, value));
    cells.addEventListener("pointermove", under);
    cells.addEventListener("click", (event) => {
      under(event);
      const piece = event.target.closest("[data-count]");
      if (piece) toggle(piece);
    });
    cells.addEventListener("focus", () => { if (cells.matches(":focus-visible")) show(at); });
    cells.addEventListener("keydown", (event) => {
      const here = place(at), folded = pieces.findLast((p) => p.dataset.count && from(p) <= at && at < from(p) + span(p));
      const go = {
        ArrowRight: () => show(at + 1), ArrowUp: () => show(at + 1), ArrowLeft: () => show(at - 1), ArrowDown: () => show(at - 1),
        PageDown: () => show(from(pieces[Math.min(pieces.length - 1, here + 1)])),
        PageUp: () => show(from(pieces[Math.max(0, here - 1)])),
        Home: () => show(first), End: () => show(last), Enter: () => folded && toggle(folded),
      }[event.key];
      if (!go || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      go();
    });
  });
})();
