"use strict";
(() => {
  const holder = document.getElementById("clips");
  if (!holder) return;
  const cards = [...holder.querySelectorAll(".clip")].map((element) => ({
    element,
    goodness: JSON.parse(element.dataset.goodness),
    values: JSON.parse(element.dataset.values),
    videos: [...element.querySelectorAll("video")],
  }));
  const get = (id) => document.getElementById(id);
  const [play, seek, speed, metric, contender, order] = ["play", "seek", "speed", "metric", "contender", "order"].map(get);
  let playing = false;

  // Every video of a card follows its first one, so that frames shown together belong together.
  const follow = () => {
    for (const { videos } of cards) {
      const [lead, ...others] = videos;
      if (playing && lead.ended) videos.forEach((video) => { video.currentTime = 0; video.play(); });
      for (const video of others) {
        if (Math.abs(video.currentTime - lead.currentTime) > 0.06) video.currentTime = lead.currentTime;
      }
    }
    const lead = cards[0].videos[0];
    if (playing && lead.duration) seek.value = lead.currentTime / lead.duration;
    if (playing) requestAnimationFrame(follow);
  };
  const start = () => {
    playing = true;
    play.textContent = "❚❚ Pause";
    for (const { videos } of cards) {
      videos.forEach((video) => {
        video.playbackRate = Number(speed.value);
        video.currentTime = videos[0].ended ? 0 : videos[0].currentTime;
        video.play();
      });
    }
    requestAnimationFrame(follow);
  };
  const stop = () => {
    playing = false;
    play.textContent = "▶ Play all";
    for (const { videos } of cards) {
      const at = videos[0].currentTime; // read once: a browser rounds what it is given
      videos.forEach((video) => { video.pause(); video.currentTime = at; });
    }
  };
  play.addEventListener("click", () => (playing ? stop() : start()));
  speed.addEventListener("change", () => cards.forEach(({ videos }) => videos.forEach((video) => { video.playbackRate = Number(speed.value); })));
  seek.addEventListener("input", () => {
    if (playing) stop();
    cards.forEach(({ videos }) => videos.forEach((video) => { if (video.duration) video.currentTime = seek.value * video.duration; }));
  });

  const arrange = () => {
    if (!metric.value) return;
    const { digits, unit } = metric.selectedOptions[0].dataset;
    const inUnit = unit ? ` ${unit}` : "";
    const alone = contender.value === "base";
    for (const card of cards) {
      card.gain = card.goodness[contender.value][metric.value] - (alone ? 0 : card.goodness.base[metric.value]);
      for (const caption of card.element.querySelectorAll("[data-source]")) {
        const own = card.values[caption.dataset.source];
        caption.textContent = own ? `${metric.value} ${own[metric.value].toFixed(Number(digits))}${inUnit}` : "";
      }
      const rank = card.element.querySelector(".rank");
      rank.textContent = alone ? "" : `${card.gain >= 0 ? "+" : "−"}${Math.abs(card.gain).toPrecision(3)}${inUnit} ${metric.value}, ${contender.value} against base`;
      rank.className = `rank ${alone ? "" : card.gain > 0 ? "good" : card.gain < 0 ? "bad" : ""}`;
    }
    const gains = cards.map((card) => card.gain).sort((a, b) => a - b);
    const middle = gains.length % 2 ? gains[(gains.length - 1) / 2] : (gains[gains.length / 2 - 1] + gains[gains.length / 2]) / 2;
    const by = {
      best: (a, b) => b.gain - a.gain,
      worst: (a, b) => a.gain - b.gain,
      typical: (a, b) => Math.abs(a.gain - middle) - Math.abs(b.gain - middle),
    }[order.value];
    cards.sort(by).forEach((card) => holder.append(card.element));
  };
  [metric, contender, order].forEach((select) => select.addEventListener("change", arrange));
  arrange();
})();
