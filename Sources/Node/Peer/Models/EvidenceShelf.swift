// What is known of a snapshot's rows before any answer: which are near duplicates, and all of them as a model's tokens, from
// which spans are found and drafts are guessed (Decoding/LookupDraft). Made on a queue of its own from the first time that
// a model is asked with a datanet, while the answer is generated; a draft waits for nothing, evidence a little.

import Attribution
import Datanets
import Dispatch
import ModelFiles
import Primitives
import Synchronization
import Tokenizers

struct SnapshotEvidence: Sendable {
    /// Of each row, the row that owns its cluster; nil of a snapshot that is too large.
    let owners: [UInt32]?
    let corpus: SpanCorpus
    var bytes: Int { corpus.bytes + (owners?.count ?? 0) * 4 }
}

final class EvidenceShelf: Sendable {
    /// Snapshots in memory, and their bytes.
    private static let entriesMax = 4
    private static let bytesMax = 256 << 20
    /// Of a snapshot whose clusters are made: the work takes about 1 KiB a row for a while, and the text.
    static let rowsMax = 1 << 17
    static let textBytesMax = 64 << 20
    /// That wait for what is being made.
    private static let waitingMax = 256

    private struct Key: Hashable {
        let model: CID
        let snapshot: CID
    }

    private struct Work: Sendable {
        let key: Key
        let datanet: HeldDatanet
        let shelf: ModelShelf
        let library: Library
    }

    private struct State {
        /// Least recently used first.
        var entries: [(key: Key, evidence: SnapshotEvidence)] = []
        var waiting: [UInt64: (work: Work, done: @Sendable (SnapshotEvidence?) -> Void)] = [:]
        var lastWaiting: UInt64 = 0
        /// One is made at a time.
        var isMaking = false

        mutating func find(_ key: Key) -> SnapshotEvidence? {
            guard let place = entries.firstIndex(where: { $0.key == key }) else { return nil }
            let entry = entries.remove(at: place)
            entries.append(entry)
            return entry.evidence
        }

        /// The newest stays, whatever its size: it has a bound of its own.
        mutating func keep(_ evidence: SnapshotEvidence, _ key: Key) {
            entries.append((key, evidence))
            while entries.count > entriesMax
                || entries.count > 1 && entries.reduce(0, { $0 + $1.evidence.bytes }) > bytesMax
            {
                entries.removeFirst()
            }
        }
    }

    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "openledger.evidence", qos: .utility)

    /// What there is now; where there is none it will be there later.
    func present(
        _ datanet: HeldDatanet, for model: CID, on shelf: ModelShelf, from library: Library
    ) -> SnapshotEvidence? {
        let work = Work(
            key: Key(model: model, snapshot: datanet.snapshot), datanet: datanet, shelf: shelf, library: library)
        let (known, makes) = state.withLock { state -> (SnapshotEvidence?, Bool) in
            if let evidence = state.find(work.key) { return (evidence, false) }
            defer { state.isMaking = true }
            return (nil, !state.isMaking)
        }
        if makes { make(work) }
        return known
    }

    /// Calls `done` once: with what there is, or will be `within` so many seconds; with nil where there is none by then.
    func find(
        _ datanet: HeldDatanet, for model: CID, on shelf: ModelShelf, from library: Library, within seconds: Double,
        done: @escaping @Sendable (SnapshotEvidence?) -> Void
    ) {
        let work = Work(
            key: Key(model: model, snapshot: datanet.snapshot), datanet: datanet, shelf: shelf, library: library)
        enum Next { case known(SnapshotEvidence), make(UInt64), wait(UInt64), full }
        let next = state.withLock { state -> Next in
            if let evidence = state.find(work.key) { return .known(evidence) }
            guard state.waiting.count < Self.waitingMax else { return .full }
            state.lastWaiting += 1
            state.waiting[state.lastWaiting] = (work, done)
            defer { state.isMaking = true }
            return state.isMaking ? .wait(state.lastWaiting) : .make(state.lastWaiting)
        }
        switch next {
        case .known(let evidence): done(evidence)
        case .full: done(nil)
        case .make(let number), .wait(let number):
            if case .make = next { make(work) }
            DispatchQueue.global(qos: .utility).asyncAfter(deadline: .now() + seconds) { [weak self] in
                self?.state.withLock { $0.waiting.removeValue(forKey: number) }?.done(nil)
            }
        }
    }

    private func make(_ work: Work) {
        queue.async { [self] in
            let made = Self.made(work)
            let (ready, next) = state.withLock { state in
                if let made { state.keep(made, work.key) }
                let ready = state.waiting.filter { $0.value.work.key == work.key }
                for number in ready.keys { state.waiting[number] = nil }
                let next = state.waiting.min { $0.key < $1.key }?.value.work
                state.isMaking = next != nil
                return (ready.sorted { $0.key < $1.key }.map(\.value.done), next)
            }
            for done in ready { done(made) }
            if let next { make(next) }
        }
    }

    /// Drafts are made from as many rows as there is room for, evidence from all that the page names or none. Nil where a
    /// shard or a tokenizer is not here.
    private static func made(_ work: Work) -> SnapshotEvidence? {
        guard let folder = try? work.shelf.folder(work.key.model),
            let tokenizer = (try? ModelTexts(folder: folder))?.tokenizer
        else { return nil }
        var builder = SpanCorpusBuilder()
        var near: NearDuplicates? = NearDuplicates(snapshot: work.datanet.snapshot)
        var bytes = 0
        for cid in work.datanet.shards {
            guard let shard = try? work.library.shard(cid, of: work.datanet) else { return nil }
            for row in shard.rows {
                _ = builder.add(tokenizer.encode(row.completion, addSpecial: false))
                bytes += row.prompt.utf8.count + row.completion.utf8.count
                let isSmall = bytes <= textBytesMax && (near?.owners.count ?? rowsMax) < rowsMax
                if !isSmall || near?.add(row) == nil { near = nil }
            }
        }
        return SnapshotEvidence(owners: near?.owners, corpus: builder.finish())
    }
}
