// What a reader would find wrong with a page, measured in a browser. Each page is in a frame of its own width.
"use strict";

function measure(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, width = page.documentElement.clientWidth;
  const name = element => `${element.tagName.toLowerCase()}.${element.className} "${element.textContent.trim().slice(0, 30)}"`;
  const style = element => view.getComputedStyle(element);
  const isUnseen = element => !element.getClientRects().length || element.closest(".hidden, .word, select, noscript, script");
  const texts = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    if (node.textContent.trim() && !isUnseen(node.parentElement)) texts.push(node);
  const elements = [...new Set(texts.map(node => node.parentElement))];
  const box = element => element.getBoundingClientRect();

  const frames = [...page.querySelectorAll(".frame")];
  const checked = page.querySelector("#picker input:checked");
  const found = {
    width: page.documentElement.scrollWidth,
    outside: elements.filter(each => !each.closest(".frame, pre") && box(each).right > width + 1).map(name),
    small: elements.filter(each => parseFloat(style(each).fontSize) < 10).map(name),
    pale: elements.filter(each => contrast(colour(style(each).color), behind(each)) < 4.5).map(name),
    broken: texts.filter(node => !node.parentElement.closest("pre")).flatMap(node => brokenWords(node)),
    overlapping: [...page.querySelectorAll(".plot")].flatMap(plot => overlaps([...plot.querySelectorAll("span")])),
    chosenIsHidden: Boolean(checked) && !isWithin(box(checked.closest("td")), box(page.querySelector("#picker"))),
    scrolling: frames.filter(each => each.scrollWidth > each.clientWidth + 1).length,
    loose: frames.flatMap(each => {
      const before = each.scrollLeft;
      each.scrollLeft = 1e6;
      const moved = [...each.querySelectorAll("th:first-child")].filter(head => Math.abs(box(head).left - box(each).left) > 2);
      each.scrollLeft = before;
      return moved.map(name);
    }),
  };
  if (checked) {
    const press = (key, from) => {
      from.dispatchEvent(new view.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
      return page.querySelector("#picker input:checked");
    };
    const below = press("ArrowDown", checked);
    found.keysAreDead = below.closest("tr").rowIndex !== checked.closest("tr").rowIndex + 1 || press("ArrowUp", below) !== checked;
  }
  return found;

  function brokenWords(node) {
    const broken = [];
    for (const match of node.textContent.matchAll(/[^\s/-]+/g)) {  // a line may end after a hyphen or a slash
      const range = page.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      if (new Set([...range.getClientRects()].map(each => Math.round(each.top))).size > 1) broken.push(match[0]);
    }
    return broken;
  }
  function overlaps(labels) {
    return labels.flatMap((one, index) => labels.slice(index + 1)
      .filter(other => box(one).left < box(other).right && box(other).left < box(one).right
        && box(one).top < box(other).bottom && box(other).top < box(one).bottom)
      .map(other => `${one.textContent} on ${other.textContent}`));
  }
  function behind(element) {
    const below = element.parentElement ? behind(element.parentElement) : [255, 255, 255];
    const [r, g, b, a] = colour(style(element).backgroundColor);
    return [r, g, b].map((value, index) => a * value + (1 - a) * below[index]);
  }
}

const isWithin = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1;

function colour(text) {  // rgb(1, 2, 3), rgba(...), or color(srgb 0.1 0.2 0.3 / 1)
  const [r, g, b, a = 1] = text.match(/[\d.e-]+/g).map(Number);
  return text.startsWith("color(srgb") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
}
function contrast(one, other) {  // WCAG 2
  const luminance = ([r, g, b]) => [r, g, b].map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

window.onload = () => {
  const looks = {};
  for (const frame of document.querySelectorAll("iframe")) looks[frame.title] = measure(frame);
  document.body.dataset.looks = JSON.stringify(looks);
};
