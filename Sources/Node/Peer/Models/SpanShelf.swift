// The rows of datanets as tokens of models, from which drafts are guessed (Decoding/LookupDraft). Made on a queue of its own
// the first time that a model is asked with a datanet; nobody waits for it, since an answer is the same without.

import Attribution
import Datanets
import Dispatch
import ModelFiles
import Primitives
import Synchronization
import Tokenizers

final class SpanShelf: Sendable {
    /// Indexes in memory, and their bytes.
    private static let indexesMax = 4
    private static let bytesMax = 256 << 20

    private struct Key: Hashable {
        let model: CID
        let snapshot: CID
    }

    private struct State {
        /// Least recently used first.
        var indexes: [(key: Key, corpus: SpanCorpus)] = []
        /// One is made at a time; what is asked for meanwhile waits until it is asked for again.
        var isMaking = false

        /// The newest stays, whatever its size: a corpus has a bound of its own.
        mutating func keep(_ corpus: SpanCorpus, _ key: Key) {
            indexes.append((key, corpus))
            while indexes.count > indexesMax
                || indexes.count > 1 && indexes.reduce(0, { $0 + $1.corpus.bytes }) > bytesMax
            {
                indexes.removeFirst()
            }
        }
    }

    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "openledger.spans", qos: .utility)

    /// What there is now; where there is none it will be there later.
    func corpus(
        of datanet: HeldDatanet, for model: CID, on shelf: ModelShelf, from library: Library
    ) -> SpanCorpus? {
        let key = Key(model: model, snapshot: datanet.snapshot)
        let (known, makes) = state.withLock { state -> (SpanCorpus?, Bool) in
            if let place = state.indexes.firstIndex(where: { $0.key == key }) {
                let entry = state.indexes.remove(at: place)
                state.indexes.append(entry)
                return (entry.corpus, false)
            }
            guard !state.isMaking else { return (nil, false) }
            state.isMaking = true
            return (nil, true)
        }
        guard makes else { return known }
        queue.async { [self] in
            let made = Self.make(datanet, model, shelf, library)
            state.withLock { state in
                state.isMaking = false
                if let made { state.keep(made, key) }
            }
        }
        return nil
    }

    /// Of as many rows as there is room for; nil where a shard or a tokenizer is not here.
    private static func make(
        _ datanet: HeldDatanet, _ model: CID, _ shelf: ModelShelf, _ library: Library
    ) -> SpanCorpus? {
        guard let folder = try? shelf.folder(model), let tokenizer = (try? ModelTexts(folder: folder))?.tokenizer
        else { return nil }
        var builder = SpanCorpusBuilder()
        for cid in datanet.shards {
            guard let shard = try? library.shard(cid, of: datanet) else { return nil }
            for row in shard.rows {
                guard builder.add(tokenizer.encode(row.completion, addSpecial: false)) else { return builder.finish() }
            }
        }
        return builder.finish()
    }
}
