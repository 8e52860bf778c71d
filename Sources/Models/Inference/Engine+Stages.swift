// A forward pass some of whose layers are computed elsewhere. What is sent to a stage is kept in the pages, so that a stage
// that is lost can be made again by another peer from its own input alone:
//
//     tokens ─▶ layers here ─▶ keep, send ─▶ stage ─▶ rows ─▶ … ─▶ head
//                                 │    lost: another peer, then every live position's kept rows, then these again
//                                 └─ nobody left: every sequence ends, pages are given back, `lost` says why

import Records

extension Engine {
    /// Peers that may take a stage's place within one step.
    private static let replacementsMax = 8

    enum LayerRun {
        case here(Range<Int>)
        case elsewhere(Int)
    }

    static func runs(_ here: Range<Int>, _ relay: (any StageRelay)?) -> [LayerRun] {
        let stages = relay?.stages ?? []
        var runs: [LayerRun] = stages.indices.map { .elsewhere($0) }
        if !here.isEmpty {
            runs.insert(.here(here), at: stages.count { $0.upperBound <= here.lowerBound })
        }
        return runs
    }

    /// The batch through every layer; false where a stage is lost for good.
    func forward() -> Bool {
        guard let relay else {
            transformer.forward(tokens: batch.tokens, segments: batch.segments)
            return true
        }
        transformer.begin(tokens: batch.tokens, segments: batch.segments)
        defer { transformer.end() }
        let copies = cache.takeCopies().map { LayerWork.Copy(from: $0.from, to: $0.to) }
        for run in runs {
            switch run {
            case .here(let range): transformer.run(layers: range)
            case .elsewhere(let stage):
                transformer.keepStream(stage: stage)
                do throws(StageFault) {
                    transformer.takeStream(try pass(stage, copies, relay))
                } catch {
                    lose(error)
                    return false
                }
            }
        }
        return true
    }

    private func pass(
        _ stage: Int, _ copies: [LayerWork.Copy], _ relay: any StageRelay
    ) throws(StageFault) -> [UInt8] {
        var work = LayerWork(
            copies: copies,
            segments: batch.segments.map { LayerWork.Segment($0.pages, start: $0.start, count: $0.count) },
            rows: transformer.streamBytes)
        var replacements = 0
        var isEmpty = false
        while true {
            do throws(StageFault) {
                if isEmpty { try refill(stage, relay) }
                isEmpty = false
                return try answer(work, stage, relay)
            } catch {
                replacements += 1
                guard replacements <= Self.replacementsMax else { throw error }
                try relay.replace(stage: stage, because: error)
                counters.stagesReplaced &+= 1
                // The pages that were copied are among those that are filled again.
                work.copies = []
                isEmpty = true
            }
        }
    }

    private func answer(
        _ work: LayerWork, _ stage: Int, _ relay: any StageRelay
    ) throws(StageFault) -> [UInt8] {
        let rows = try relay.compute(work, stage: stage)
        guard rows.count == work.rows.count else {
            throw StageFault("\(work.rows.count) bytes of rows were sent and \(rows.count) came back")
        }
        return rows
    }

    /// Makes a stage's keys and values again, of every position that a live sequence has behind it. What only the cache
    /// keeps is not worth it.
    private func refill(_ stage: Int, _ relay: any StageRelay) throws(StageFault) {
        cache.forgetIdle()
        var starts: [SequenceID: Int] = [:]
        for (index, sequence) in batch.sequences.enumerated() { starts[sequence.id] = batch.segments[index].start }
        var done: Set<PageNumber> = []
        let edge = PagePool.positionsPerPage
        for sequence in live {
            guard let table = sequence.cursor?.table else { continue }
            let end = starts[sequence.id] ?? sequence.cached
            var at = 0
            while at + edge <= end, done.contains(table[at / edge]) { at += edge }
            while at < end {
                let count = min(end - at, limits.stepTokensMax)
                let rows = transformer.keptRows(table, from: at, count: count, stage: stage)
                _ = try answer(
                    LayerWork(segments: [LayerWork.Segment(table, start: at, count: count)], rows: rows), stage, relay)
                counters.refilledTokens &+= UInt64(count)
                at += count
            }
            for page in 0..<end / edge { done.insert(table[page]) }
        }
    }

    /// Ends everything: without its layers there is no model.
    private func lose(_ fault: StageFault) {
        lost = fault
        for sequence in live { cancel(sequence.id) }
        for id in queued.keys.sorted() { cancel(id) }
        cache.forgetIdle()
    }
}

extension LayerWork.Copy {
    fileprivate init(from: PageNumber, to: PageNumber) {
        self.init(from: UInt32(bitPattern: from.value), to: UInt32(bitPattern: to.value))
    }
}

extension LayerWork.Segment {
    fileprivate init(_ table: PageTable, start: Int, count: Int) {
        let pages = PagePool.pages(positions: start + count)
        self.init(pages: (0..<pages).map { UInt32(bitPattern: table[$0].value) }, start: start, count: count)
    }
}
