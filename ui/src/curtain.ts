/**
 * Keeps hands off the documents while something is done to them, and says what.
 */

import { Widget } from '@lumino/widgets';

/** Lies over the whole window; JupyterLab's own dialogs, such as that of a conflict, lie above it. */
class Curtain extends Widget {
  constructor(text: string) {
    super();
    this.addClass('jp-bookstore-curtain');
    this.node.tabIndex = -1;
    this.node.setAttribute('role', 'dialog');
    this.node.setAttribute('aria-modal', 'true');
    this.node.setAttribute('aria-busy', 'true');
    this.node.setAttribute('aria-label', text);
    const box = document.createElement('div');
    box.setAttribute('role', 'status');
    const spinner = document.createElement('div');
    spinner.className = 'jp-bookstore-spinner';
    box.append(spinner, text);
    this.node.append(box);
  }

  handleEvent(event: Event): void {
    const target = event.target;
    if (target instanceof Element && target.closest('.jp-Dialog, .jp-bookstore-curtain')) {
      if (event.type === 'keydown' && this.node.contains(target)) {
        // Shortcuts are for what lies below.
        event.preventDefault();
        event.stopPropagation();
      }
      return;
    }
    event.stopPropagation();
    event.preventDefault();
    this.node.focus();
  }

  protected onAfterAttach(): void {
    this._before = document.activeElement;
    for (const name of EVENTS) {
      document.addEventListener(name, this, true);
    }
    this.node.focus();
  }

  protected onBeforeDetach(): void {
    for (const name of EVENTS) {
      document.removeEventListener(name, this, true);
    }
    if (this._before instanceof HTMLElement && this._before.isConnected) {
      this._before.focus();
    }
  }

  private _before: Element | null = null;
}

/** What leads into what lies below. */
const EVENTS = ['focus', 'keydown', 'mousedown', 'beforeinput', 'paste', 'drop'];

/**
 * Do something while nothing can be typed.
 *
 * @param text - What is done.
 */
export async function behindCurtain<T>(text: string, work: () => Promise<T>): Promise<T> {
  const curtain = new Curtain(text);
  Widget.attach(curtain, document.body);
  try {
    return await work();
  } finally {
    curtain.dispose();
  }
}
