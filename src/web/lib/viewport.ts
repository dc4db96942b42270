/**
 * Keeps `--height` at what can be seen above the on-screen keyboard: 100dvh does not shrink for it on iOS.
 * Zoomed in, the visual viewport is a piece of the page and says nothing about the keyboard.
 */
export function followKeyboard(): () => void {
  const seen = window.visualViewport;
  if (seen === null) return () => undefined;
  const apply = () => {
    const covered = seen.scale === 1 && window.innerHeight - seen.height > 1;
    if (covered) document.documentElement.style.setProperty("--height", `${seen.height}px`);
    else document.documentElement.style.removeProperty("--height");
    if (covered && seen.offsetTop > 0) window.scrollTo(0, 0);
  };
  apply();
  seen.addEventListener("resize", apply);
  seen.addEventListener("scroll", apply);
  return () => {
    seen.removeEventListener("resize", apply);
    seen.removeEventListener("scroll", apply);
  };
}
