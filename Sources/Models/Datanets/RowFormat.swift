// The forms in which people have rows. A file's name says which it is by its ending, so that nothing is guessed from bytes.

package enum RowFormat: String, Hashable, Sendable, CaseIterable {
    case jsonl, csv, markdown, text, pdf

    /// By the ending of a file's name; a name without one is JSONL. Nil for an ending that is not read.
    package init?(name: String) {
        let last = name.split(separator: "/").last ?? ""
        guard let dot = last.lastIndex(of: ".") else {
            self = .jsonl
            return
        }
        switch last[last.index(after: dot)...].lowercased() {
        case "jsonl", "ndjson", "json": self = .jsonl
        case "csv": self = .csv
        case "md", "markdown": self = .markdown
        case "txt", "text": self = .text
        case "pdf": self = .pdf
        default: return nil
        }
    }

    package static let endings = ".jsonl, .csv, .md, .txt or .pdf"

    package var bytesMax: Int {
        switch self {
        case .jsonl, .csv: DatanetLimits.fileBytesMax
        case .markdown, .text, .pdf: DatanetLimits.documentBytesMax
        }
    }
}
