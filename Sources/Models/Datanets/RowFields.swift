// A row from named fields, whatever the file's form: which fields belong together, which may be missing, how long they may
// be. JSONL and CSV differ only in how a field is looked up.

import Primitives

struct RowFields {
    static let need = "each row needs \"prompt\" and \"completion\", or \"text\""
    static let known: Set<String> = ["prompt", "completion", "text", "id", "source", "license", "licence"]

    let file: String
    let line: Int
    /// What a field that is not there is called: a CSV file has its columns, and they may be empty.
    var absent = "missing"

    func fault(_ field: String?, _ reason: String) -> RowFault {
        RowFault(file: file, line: line, field: field, reason: reason)
    }

    /// - Parameter look: the field of that name; nil where it is absent.
    func row(_ look: (String) throws(RowFault) -> String?) throws(RowFault) -> Row {
        func text(_ key: String, max: Int) throws(RowFault) -> String? {
            guard let text = try look(key) else { return nil }
            guard text.utf8.count <= max else {
                throw fault(key, "\"\(key)\" has \(text.utf8.count) bytes; the limit is \(max)")
            }
            return text
        }
        func content(_ key: String) throws(RowFault) -> String? {
            guard let text = try text(key, max: DatanetLimits.rowBytesMax) else { return nil }
            guard !Row.normalise(text).isEmpty else { throw fault(key, "\"\(key)\" is empty; \(Self.need)") }
            return text
        }
        func optional(_ key: String, _ limit: Int) throws(RowFault) -> String? {
            let found = try text(key, max: limit)
            return found?.isEmpty == true ? nil : found
        }
        let prompt = try content("prompt")
        let completion = try content("completion")
        let whole = try content("text")
        let kind: RowContent
        switch (prompt, completion, whole) {
        case (let prompt?, let completion?, nil): kind = .pair(prompt: prompt, completion: completion)
        case (nil, nil, let whole?): kind = .text(whole)
        case (nil, nil, nil), (nil, _?, nil): throw fault("prompt", "\"prompt\" is \(absent); \(Self.need)")
        case (_, _, _?): throw fault("text", "\"text\" stands beside \"prompt\" or \"completion\"; \(Self.need)")
        case (_?, nil, nil): throw fault("completion", "\"completion\" is \(absent); \(Self.need)")
        }
        var licence = try optional("license", DatanetLimits.licenceBytesMax)
        if licence == nil { licence = try optional("licence", DatanetLimits.licenceBytesMax) }
        let row = Row(
            kind, id: try optional("id", DatanetLimits.idBytesMax),
            source: try optional("source", DatanetLimits.sourceBytesMax), licence: licence)
        let size = row.cbor.encoded().count
        guard size <= DatanetLimits.rowBytesMax else {
            throw fault(nil, "the row has \(size) bytes; the limit is \(DatanetLimits.rowBytesMax)")
        }
        return row
    }
}
