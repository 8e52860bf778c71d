// Rows coming in from files, and going out: validate, add, create, export, pull.

import Datanets
import Gateway
import NodeCore
import Primitives
import Storage
import Synchronization

extension PeerService {
    // MARK: in

    /// By the name's ending; on the desk, since a large file takes seconds.
    private func file(_ upload: RowsUpload) async throws(NodeFault) -> RowFile {
        let (name, format) = try Self.format(upload)
        return try await desk.perform { [desk] () throws(NodeFault) in
            try desk.file(upload.bytes, name: name, format)
        }
    }

    private static func format(_ upload: RowsUpload) throws(NodeFault) -> (name: String, RowFormat) {
        let name = upload.file.isEmpty ? "rows.jsonl" : upload.file
        guard let format = RowFormat(name: name) else {
            throw NodeFault(
                .invalid, "\(name): files of this kind are not read; rows come as \(RowFormat.endings)", param: "file",
                code: "unknown_format")
        }
        return (name, format)
    }

    static func fault(_ fault: Datanets.RowFault) -> Gateway.RowFault {
        Gateway.RowFault(
            file: fault.file, line: fault.line, field: fault.field, reason: Self.word(fault.reason),
            message: fault.description)
    }

    /// A stable word for programs.
    private static func word(_ reason: String) -> String {
        let words = [
            ("missing", "missing"), ("is empty", "empty"), ("bytes; the limit", "too_long"), ("split it", "too_long"),
            ("is not a text", "wrong_type"), ("UTF-", "not_text"), ("quote", "not_csv"), ("fields", "not_csv"),
            ("names two columns", "not_csv"), ("separated by", "not_csv"), ("password", "locked"),
            ("is no PDF", "not_pdf"), ("PDF cannot be read", "unreadable"), ("are probably scanned", "no_text"),
        ]
        if let found = words.first(where: { reason.contains($0.0) }) { return found.1 }
        return reason.hasPrefix("column") || reason.contains("JSON object") ? "not_json" : "invalid"
    }

    func validate(_ name: String, _ upload: RowsUpload) async throws(NodeFault) -> JSONValue {
        _ = try await datanetID(name)
        let file = try await file(upload)
        // Of a datanet that is only announced nothing can be said.
        let held = try? await content(name)
        let report: JSONValue
        if let held, !file.rows.isEmpty { report = try await quality(file, beside: held) } else { report = .null }
        let faults = file.faults.map { fault in
            JSONValue.object([
                "file": .string(fault.file), "line": .integer(fault.line), "field": .text(fault.field),
                "reason": .string(Self.word(fault.reason)), "message": .string(fault.description),
            ])
        }
        return .object([
            "valid": .bool(file.faultCount == 0), "rows": .integer(file.rows.count),
            "duplicates": .integer(file.duplicates.count), "faults": .array(faults),
            "faults_total": .integer(file.faultCount), "ignored_fields": .strings(file.ignoredFields),
            "format": .string(try Self.format(upload).1.rawValue),
            "report": report, "preview": .array(file.rows.prefix(Self.previewRows).map(Self.preview)),
        ])
    }

    /// Rows that are shown of a file before it is contributed: of a document, how it was cut.
    private static let previewRows = 5

    private static func preview(_ row: RowFile.NumberedRow) -> JSONValue {
        var members = [JSONMember("line", .integer(row.line))]
        switch row.row.content {
        case .pair(let prompt, let completion):
            members += [JSONMember("prompt", .string(prompt)), JSONMember("completion", .string(completion))]
        case .text(let text): members.append(JSONMember("text", .string(text)))
        }
        return .members(members + [JSONMember("source", .text(row.row.source))])
    }

    func create(_ description: DatanetDescription) async throws(NodeFault) -> JSONValue {
        let policy: DatanetPolicy =
            switch description.access {
            case .open: .open
            case .approval: .approval
            case .privateToGrantees: .private
            }
        let name = description.name
        let isTaken = try await read { node in
            node.datanets.ids.contains {
                node.datanets.manifest($0)?.name == name && node.datanets.manifest($0)?.owner == node.account
            }
        }
        guard !isTaken else {
            throw NodeFault(
                .conflict, "you have a datanet \"\(name)\" already; take another name", param: "name",
                code: "name_taken")
        }
        let answer = await handle.perform(
            .datanet(
                .create(
                    name: name, summary: description.summary, tags: description.tags, licence: description.license,
                    policy: policy, nonce: Home.randomBytes(DatanetLimits.nonceBytes))))
        switch answer {
        case .datanet(let id):
            await peer.advertise()
            return try await json(datanet: id)
        case .failed(let failure): throw NodeFault(failure)
        default: throw NodeFault(.broken, "the node gave no answer to a datanet", code: "internal")
        }
    }

    func add(_ name: String, _ upload: RowsUpload) async throws(NodeFault) -> JSONValue {
        let id = try await datanetID(name)
        let file = try await file(upload)
        guard file.faultCount == 0 else {
            let count = file.faultCount == 1 ? "1 fault" : "\(file.faultCount) faults"
            throw NodeFault(
                .unverified, "\(count), nothing was written; first: \(file.faults.first.map(\.description) ?? "")",
                code: "rows_with_faults", rows: file.faults.map(Self.fault))
        }
        guard let manifest = try await read({ $0.datanets.manifest(id) }) else {
            throw NodeFault(DatanetFault.unknownDatanet(id))
        }
        let answer = await handle.perform(
            .datanet(.contribute(file.rows.map(\.row), to: id, licence: upload.license ?? manifest.licence)))
        switch answer {
        case .contribution(let cid):
            let isDecided = manifest.owner == handle.account || manifest.policy == .open
            return .object([
                "contribution": .string(cid.text), "rows": .integer(file.rows.count),
                "duplicates": .integer(file.duplicates.count), "state": .string(isDecided ? "approved" : "pending"),
                "datanet": try await json(datanet: id),
            ])
        case .failed(let failure): throw NodeFault(failure)
        default: throw NodeFault(.broken, "the node gave no answer to rows", code: "internal")
        }
    }

    // MARK: out

    /// A shard is read when its first row is asked for; nothing is buffered beyond it.
    func export(_ name: String) async throws(NodeFault) -> AsyncThrowingStream<JSONValue, any Error> {
        let held = try await content(name)
        let state = ExportState(held.shards.map(\.cid)) { [self] cid throws(NodeFault) in try exported(cid) }
        return AsyncThrowingStream(unfolding: { try state.next() })
    }

    func exported(_ cid: CID) throws(NodeFault) -> [JSONValue] {
        let shard = try shard(cid)
        return shard.rows.enumerated().map { index, row in
            var members: [JSONMember] = []
            if let id = row.id { members.append(JSONMember("id", .string(id))) }
            switch row.content {
            case .pair(let prompt, let completion):
                members += [JSONMember("prompt", .string(prompt)), JSONMember("completion", .string(completion))]
            case .text(let text): members.append(JSONMember("text", .string(text)))
            }
            if let source = row.source { members.append(JSONMember("source", .string(source))) }
            members.append(JSONMember("license", .string(shard.licence(of: index))))
            return .members(members)
        }
    }

    func pullDatanet(_ name: String, _ from: String?) async throws(NodeFault) -> AsyncThrowingStream<
        JSONValue, any Error
    > {
        let id = try await datanetID(name)
        if let from {
            let wanted = try peerID(from)
            guard try await connections().contains(where: { $0.peer == wanted }) else {
                throw NodeFault(NodeFailure.notConnected(wanted))
            }
        }
        return lines { [self] emit async throws(NodeFault) in
            for await answer in handle.command(.datanet(.pull(id))) {
                switch answer {
                case .progress(let blocks, let bytes, let known):
                    emit(progressLine(done: bytes, total: known, blocks: blocks))
                case .pulled(_, let bytes, _, let servers):
                    await peer.advertise()
                    return .object([
                        "event": .string("done"), "datanet": try await json(datanet: id), "bytes": .integer(bytes),
                        "from": .strings(servers.map(\.text)),
                    ])
                case .failed(let failure): throw NodeFault(failure)
                default: break
                }
            }
            throw Self.stopping
        }
    }
}

/// How far an export is.
private final class ExportState: Sendable {
    private struct Cursor {
        var shards: ArraySlice<CID>
        var rows: ArraySlice<JSONValue> = []
    }

    private let cursor: Mutex<Cursor>
    private let read: @Sendable (CID) throws(NodeFault) -> [JSONValue]

    init(_ shards: [CID], read: @escaping @Sendable (CID) throws(NodeFault) -> [JSONValue]) {
        cursor = Mutex(Cursor(shards: shards[...]))
        self.read = read
    }

    func next() throws(NodeFault) -> JSONValue? {
        try cursor.withLock { cursor throws(NodeFault) in
            while cursor.rows.isEmpty {
                guard let shard = cursor.shards.popFirst() else { return nil }
                cursor.rows = try read(shard)[...]
            }
            return cursor.rows.popFirst()
        }
    }
}
