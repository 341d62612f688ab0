// Pictures: from a file to what is sent, and to pixels of the model's size.

import { bytes } from "./numbers.js";

// A larger picture is scaled down here, so that not megabytes of base64 are sent for 32 x 32 pixels.
const MOST_SIDE = 1024;
const MOST_FILE_BYTES = 2e6;
const SENT_AS_THEY_ARE = ["image/png", "image/jpeg"];

/**
 * Prepares a picture.
 *
 * @param {Blob} file PNG or JPEG is sent as it is, unless it is large; what else the browser can
 *     read is sent as PNG.
 * @returns {Promise<{bitmap: ImageBitmap, blob: Blob, base64: string, note: string}>}
 * @throws {Error} The browser cannot read it.
 */
export async function preparePicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("this browser cannot read the file as a picture; use a PNG or JPEG file");
  }
  const { width, height } = bitmap;
  const size = `${width} × ${height} pixels`;
  let blob = file;
  let note = `${size}, ${bytes(file.size)}, sent as it is.`;
  if (Math.max(width, height) > MOST_SIDE || file.size > MOST_FILE_BYTES) {
    const share = Math.min(1, MOST_SIDE / Math.max(width, height));
    const canvas = drawn(bitmap, Math.max(1, Math.round(width * share)), Math.max(1, Math.round(height * share)));
    blob = await pngOf(canvas);
    note = `${size}; scaled to ${canvas.width} × ${canvas.height} pixels here and sent as PNG (${bytes(blob.size)}).`;
  } else if (!SENT_AS_THEY_ARE.includes(file.type)) {
    blob = await pngOf(drawn(bitmap, width, height));
    note = `${size}, sent as PNG (${bytes(blob.size)}).`;
  }
  return { bitmap, blob, base64: await base64Of(blob), note };
}

function drawn(bitmap, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

function pngOf(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function base64Of(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** The pixels of a picture at a model's size, as nested lists: rows, columns, channels, 0 to 255. */
export function pixelsOf(bitmap, [, height, width, channels]) {
  const { data } = drawn(bitmap, width, height).getContext("2d").getImageData(0, 0, width, height);
  return Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (__, column) => {
      const at = 4 * (row * width + column);
      const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
      return channels === 1 ? [Math.round(0.299 * red + 0.587 * green + 0.114 * blue)] : [red, green, blue];
    }),
  );
}

/** The sample pictures of this page, as `[name, data URL]`. */
export function samples() {
  return Object.entries(JSON.parse(document.getElementById("samples").textContent));
}

/** A data URL of base64 as a file. */
export function fileOf(dataUrl) {
  const [head, base64] = dataUrl.split(",");
  const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Blob([content], { type: /^data:([^;]+)/.exec(head)[1] });
}
