// Types of what the server answers; see /openapi.json.

/** @typedef {[number, number]} Span start and end in seconds */
/** @typedef {{ id: string, sentence: string, author: string, glance: number, exact: boolean }} OwnLabel */
/** @typedef {{ video: string, start: number, end: number, score: number, duration: number, watchable: boolean, label?: OwnLabel | null }} FoundMoment */
/**
 * @typedef {FoundMoment & { span: Span | null, fromLink?: boolean, labels?: { sentence: string, glance: number }[] }} Moment
 * a found moment; `span` is what its handles were moved to, null where a whole video is watched
 */
/** @typedef {{ word: string, used: string | null }} UnknownWord */
/**
 * @typedef {{ sentence: string, without: string[], more: boolean, moments: FoundMoment[], unknown: UnknownWord[], convincing: boolean | null,
 *   threshold: number | null, videos: number, encode_ms: number, search_ms: number, total_ms: number }} SearchAnswer
 */
/**
 * @typedef {{ id: string, revision: number, video: string, glance: number, sentence: string, author: string, at: string,
 *   deleted: boolean, held_out: boolean, absent: boolean }} Label
 */
/** @typedef {{ video: string, second: number, sentence: string, start: number, end: number, chance: number }} Question */
/** @typedef {{ labels: number, found: number, gain: number, more: number, points: [number, number, number][] }} Worth */
/** @typedef {{ label: Label, second: number | null }} Doubtful */
/** @typedef {{ video: string, duration: number | null, indexed: boolean, watchable: boolean, labels: number }} Video */
/**
 * @typedef {Video & { folder: string, state: string, reason: string, date: string | null, size: number }} LibraryVideo
 */
/**
 * @typedef {{ id: string, kind: string, title: string, state: "queued" | "running" | "done" | "failed" | "cancelled",
 *   message: string, progress: number | null, created: number, started: number | null, finished: number | null,
 *   left: number | null, result: Record<string, unknown> }} Job
 */
/**
 * @typedef {{ name: string, repository: string, size: number, licence: string, languages: string, here: boolean,
 *   arrived: number, downloadable: boolean, missing: string[], install: string, fetching: string | null,
 *   reading: string | null, read: boolean, served: boolean }} Checkpoint
 */
/** @typedef {{ of: number, first: number, several: number, everywhere: number, length: number }} Hits */
/**
 * @typedef {{ id: string, created: number, labels: number, served: boolean,
 *   comparison: { before: Hits | null, after: Hits, labels: any[] } | null }} Model
 */

export {};
