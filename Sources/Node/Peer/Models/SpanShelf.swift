// The rows of datanets as tokens of models, from which drafts are guessed (Decoding/LookupDraft). Made on a queue of its own
// the first time that a model is asked with a datanet; nobody waits for it, since an answer is the same without.

import Datanets
import Decoding
import Dispatch
import ModelFiles
import Primitives
import Synchronization
import Tokenizers

final class SpanShelf: Sendable {
    /// Tables in memory, 7 MiB each at most.
    private static let tablesMax = 4

    private struct Key: Hashable {
        let model: CID
        let snapshot: CID
    }

    private struct State {
        /// Least recently used first.
        var tables: [(key: Key, table: SpanTable)] = []
        /// One is made at a time; what is asked for meanwhile waits until it is asked for again.
        var isMaking = false
    }

    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "openledger.spans", qos: .utility)

    /// What there is now; where there is none it will be there later.
    func table(of datanet: HeldDatanet, for model: CID, on shelf: ModelShelf, from library: Library) -> SpanTable? {
        let key = Key(model: model, snapshot: datanet.snapshot)
        let (known, makes) = state.withLock { state -> (SpanTable?, Bool) in
            if let place = state.tables.firstIndex(where: { $0.key == key }) {
                let entry = state.tables.remove(at: place)
                state.tables.append(entry)
                return (entry.table, false)
            }
            guard !state.isMaking else { return (nil, false) }
            state.isMaking = true
            return (nil, true)
        }
        guard makes else { return known }
        queue.async { [self] in
            let table = Self.make(datanet, model, shelf, library)
            state.withLock { state in
                state.isMaking = false
                guard let table else { return }
                state.tables.append((key, table))
                if state.tables.count > Self.tablesMax { state.tables.removeFirst() }
            }
        }
        return nil
    }

    /// Nil where a shard or a tokenizer is not here: then there are no drafts from it.
    private static func make(
        _ datanet: HeldDatanet, _ model: CID, _ shelf: ModelShelf, _ library: Library
    ) -> SpanTable? {
        guard let folder = try? shelf.folder(model), let tokenizer = (try? ModelTexts(folder: folder))?.tokenizer
        else { return nil }
        var texts: [[Int32]] = [], count = 0
        for cid in datanet.shards {
            guard let shard = try? library.shard(cid, of: datanet) else { return nil }
            for row in shard.rows {
                let tokens = tokenizer.encode(row.completion, addSpecial: false)
                count += tokens.count + 1
                guard count <= SpanTable.tokensMax else { return SpanTable(texts: texts) }
                texts.append(tokens)
            }
        }
        return texts.isEmpty ? nil : SpanTable(texts: texts)
    }
}
