// One step: who comes in, which rows are computed, what is made of them.
//
//     admit: place, adapter, pages ──▶ assemble: answers' rows, then prompts' chunks ──▶ forward ──▶ logits ──▶ tokens

import Decoding

/// The rows of one forward pass.
struct Batch {
    var tokens: [Int32] = []
    var segments: [BatchSegment] = []
    /// By segment.
    var sequences: [LiveSequence] = []
    /// Rows whose logits are needed.
    var wanted: [(sequence: LiveSequence, position: Int)] = []
    var wantedRows: [Int] = []
    /// Sequences whose segment ends in a guess: its length, and the positions that were sure.
    var drafts: [(sequence: LiveSequence, count: Int, sure: Int)] = []

    mutating func reserve(rows: Int, sequences count: Int) {
        tokens.reserveCapacity(rows)
        segments.reserveCapacity(count)
        sequences.reserveCapacity(count)
        wanted.reserveCapacity(rows)
        wantedRows.reserveCapacity(rows)
        drafts.reserveCapacity(count)
    }

    mutating func clear() {
        tokens.removeAll(keepingCapacity: true)
        segments.removeAll(keepingCapacity: true)
        sequences.removeAll(keepingCapacity: true)
        wanted.removeAll(keepingCapacity: true)
        wantedRows.removeAll(keepingCapacity: true)
        drafts.removeAll(keepingCapacity: true)
    }
}

extension Engine {
    // MARK: Admission

    func admit() {
        while !queued.isEmpty {
            let next = scheduler.next { id in queued[id].map(isReady) ?? false }
            guard let next, let sequence = queued[next.waiting.id] else { return }
            guard begin(sequence) || (makePlace(for: sequence) && begin(sequence)) else { return }
        }
    }

    /// Whether there was a place and pages for all that is to be computed before its next token.
    private func begin(_ sequence: LiveSequence) -> Bool {
        guard live.count < limits.sequencesMax else { return false }
        var cursor = CacheCursor(
            capacity: sequence.pagesMax,
            root: (sequence.adapter?.serial ?? 0) << 32 | UInt64(sequence.request.cacheDomain))
        let cached = cache.find(
            &cursor, tokens: sequence.tokens, cached: 0, limit: sequence.cacheableMax)
        let missing = PagePool.pages(positions: sequence.tokens.count) - cursor.table.count
        // One more for each that is answering, so that what comes in now is not put out again at once.
        guard missing + live.count <= cache.available else {
            cache.release(&cursor)
            return false
        }
        for _ in 0..<missing {
            guard cache.grow(cursor) else { preconditionFailure("pages that were there are gone") }
        }
        sequence.cursor = cursor
        sequence.cached = cached
        found(sequence, from: 0)
        queued[sequence.id] = nil
        scheduler.begin(sequence.waiting, sequence.tenant)
        began(sequence)
        if let adapter = sequence.adapter {
            adapters.use(adapter, sequence.id)
            sequence.weights = adapter.adapter
        }
        sequence.tokens.reserveCapacity(sequence.request.prompt.count + sequence.tokensMax)
        let place = live.lastIndex { $0.isMoreImportant(than: sequence) }.map { $0 + 1 } ?? 0
        live.insert(sequence, at: place)
        return true
    }

    /// Positions that the cache had.
    private func found(_ sequence: LiveSequence, from start: Int) {
        let new = sequence.cached - max(start, sequence.computed)
        guard new > 0 else { return }
        counters.cachedTokens &+= UInt64(new)
        sequence.computed = sequence.cached
    }

    /// Puts back one sequence whose place or pages the other should have; false where there is none.
    private func makePlace(for sequence: LiveSequence) -> Bool {
        let victim = live.indices.reversed().first { index in
            scheduler.takesPlace(
                sequence.waiting, of: sequence.tenant, from: live[index].waiting, of: live[index].tenant)
        }
        guard let victim else { return false }
        preempt(at: victim)
        return true
    }

    func preempt(at index: Int) {
        let sequence = live.remove(at: index)
        letGo(sequence)
        scheduler.putBack(sequence.waiting, sequence.tenant)
        queued[sequence.id] = sequence
        if let adapter = sequence.adapter { adapters.wait(adapter, sequence.id, isNew: false) }
        waitsAgain(sequence)
        counters.preemptions &+= 1
    }

    // MARK: Assembly

    func assemble() {
        var index = 0
        var answers = 0
        while index < live.count {
            let sequence = live[index]
            if sequence.isAnswering, hasPage(for: sequence, at: index) {
                append(sequence, count: 1)
                appendDraft(sequence)
                answers += 1
            }
            index += 1
        }
        var room = limits.stepTokensMax - batch.tokens.count
        if answers > 0 { room = min(room, limits.promptTokensBesideAnswersMax) }
        for sequence in live where !sequence.isAnswering { prefilling.append(sequence) }
        if prefilling.count > 1 {
            prefilling.sort { scheduler.precedes($0.waiting, $0.tenant, $1.waiting, $1.tenant) }
        }
        for sequence in prefilling where room > 0 {
            guard !isBeingComputed(sequence, since: answers) else { continue }
            useCache(sequence)
            let count = min(sequence.tokens.count - sequence.cached, room)
            append(sequence, count: count)
            room -= count
        }
        prefilling.removeAll(keepingCapacity: true)
        counters.batchTokens = batch.tokens.count
        counters.batchSequences = batch.sequences.count
    }

    /// Makes sure of a page for the next position, at the price of the least important sequences; false where those
    /// that are more important hold everything.
    private func hasPage(for sequence: LiveSequence, at index: Int) -> Bool {
        guard let cursor = sequence.cursor else { return false }
        guard sequence.cached == cursor.table.count * PagePool.positionsPerPage else { return true }
        while !cache.grow(cursor) {
            guard live.count - 1 > index else { return false }
            preempt(at: live.count - 1)
        }
        return true
    }

    /// Whether another sequence computes the page that this one needs next: then this one finds it after the step.
    private func isBeingComputed(_ sequence: LiveSequence, since first: Int) -> Bool {
        // The positions that are scored are computed by whoever scores them.
        guard let cursor = sequence.cursor, sequence.cached == cursor.shared * PagePool.positionsPerPage,
            !sequence.request.scoresPrompt
                || sequence.cached + PagePool.positionsPerPage <= sequence.cacheableMax
        else { return false }
        return batch.sequences.indices.dropFirst(first).contains { index in
            let other = batch.sequences[index]
            guard let theirs = other.cursor else { return false }
            return cache.isSamePage(theirs, other.tokens, cursor, sequence.tokens)
        }
    }

    /// Takes from the cache what came into it since, up to the first token that differs.
    private func useCache(_ sequence: LiveSequence) {
        guard var cursor = sequence.cursor else { return }
        sequence.cursor = nil
        let start = sequence.cached
        sequence.cached = cache.find(
            &cursor, tokens: sequence.tokens, cached: start, limit: sequence.cacheableMax)
        sequence.cached = cache.copyBeginning(
            cursor, tokens: sequence.tokens, cached: sequence.cached, limit: sequence.cacheableMax)
        sequence.cursor = cursor
        if sequence.cached > start { found(sequence, from: start) }
    }

    /// Tokens that may follow, in the rows behind the last one's: each is right if its predecessor's logits say so.
    private func appendDraft(_ sequence: LiveSequence) {
        let isRepeating = sequence.request.repeats != nil
        guard
            isRepeating
                || live.count <= limits.speculatingSequencesMax && live.allSatisfy(\.hasBegun)
                    && sequence.lookup != nil,
            let cursor = sequence.cursor
        else { return }
        // Every other sequence keeps its row.
        var room = limits.stepTokensMax - batch.tokens.count - live.count
        // An answer that is checked delays others no more than a prompt does.
        if isRepeating, live.count > 1 { room = min(room, limits.promptTokensBesideAnswersMax) }
        room = min(room, sequence.request.prompt.count + sequence.tokensMax - sequence.tokens.count - 1)
        // Pages are taken for what a guess can be, not for all that is left to say.
        if !isRepeating { room = min(room, sequence.lookup?.tokensMax ?? 0) }
        while cursor.table.count * PagePool.positionsPerPage < sequence.cached + room,
            cursor.table.count < cursor.table.capacity, cache.available > live.count, cache.grow(cursor)
        {}
        room = min(room, cursor.table.count * PagePool.positionsPerPage - sequence.cached)
        guard room > 0 else { return }
        let draft =
            isRepeating
            ? sequence.remainder(max: room, vocabulary: model.config.vocabulary)
            : sequence.lookup?.draft(max: room, spans: sequence.request.spans) ?? []
        guard !draft.isEmpty, let segment = batch.segments.popLast() else { return }
        batch.segments.append(
            BatchSegment(
                pages: segment.pages, start: segment.start, count: 1 + draft.count, row: segment.row,
                adapter: segment.adapter))
        for token in draft {
            batch.wanted.append((sequence, segment.start + batch.tokens.count - segment.row))
            batch.wantedRows.append(batch.tokens.count)
            batch.tokens.append(token)
        }
        batch.drafts.append((sequence, draft.count, sequence.cached))
        if !isRepeating { counters.draftTokens &+= UInt64(draft.count) }
    }

    private func append(_ sequence: LiveSequence, count: Int) {
        guard count > 0, let cursor = sequence.cursor else { return }
        let row = batch.tokens.count, start = sequence.cached
        batch.tokens += sequence.tokens[start..<start + count]
        batch.segments.append(
            BatchSegment(pages: cursor.table, start: start, count: count, row: row, adapter: sequence.weights))
        batch.sequences.append(sequence)
        for position in start..<start + count {
            let isScored = sequence.scoresPrompt && position >= sequence.promptScores.count
            if position == sequence.tokens.count - 1 || isScored {
                batch.wanted.append((sequence, position))
                batch.wantedRows.append(row + position - start)
            }
        }
        sequence.cached += count
        tally(sequence, from: start, count)
    }

    private func tally(_ sequence: LiveSequence, from start: Int, _ count: Int) {
        let new = max(0, start + count - max(start, sequence.computed))
        counters.recomputedTokens &+= UInt64(count - new)
        guard new > 0 else { return }
        scheduler.charge(sequence.tenant, tokens: new)
        sequence.computed = start + count
        let ofPrompt = max(0, min(start + count, sequence.request.prompt.count) - (start + count - new))
        counters.promptTokens &+= UInt64(ofPrompt)
    }

    // MARK: Computing

    func compute() {
        guard !batch.tokens.isEmpty else { return }
        counters.steps &+= 1
        guard forward() else { return }
        for sequence in batch.sequences {
            guard var cursor = sequence.cursor else { continue }
            sequence.cursor = nil
            cache.publish(&cursor, tokens: sequence.tokens, cached: sequence.cached)
            sequence.cursor = cursor
        }
        var at = 0
        while at < batch.wanted.count {
            let end = min(batch.wanted.count, at + limits.sequencesMax)
            transformer.computeLogits(of: batch.wantedRows[at..<end])
            for index in at..<end {
                let logits = UnsafePointer(transformer.logits + (index - at) * transformer.logitStride)
                let wanted = batch.wanted[index]
                guard holds(wanted.sequence, wanted.position, batch.tokens[batch.wantedRows[index]]) else { continue }
                if let output = advance(wanted.sequence, logits, position: wanted.position) { outputs.append(output) }
            }
            at = end
        }
        for draft in batch.drafts where draft.sequence.request.repeats == nil {
            let right = draft.sequence.cached - draft.sure
            draft.sequence.lookup?.verified(drafted: draft.count, accepted: right)
            counters.acceptedTokens &+= UInt64(right)
        }
        var index = 0
        while index < live.count {
            guard live[index].isFinished else {
                index += 1
                continue
            }
            let sequence = live.remove(at: index)
            letGo(sequence)
            scheduler.end(sequence.tenant)
            counters.finished &+= 1
        }
    }

    /// Whether a row was fed what the sequence has at its place: the row behind a wrong guess was not. A guess that was
    /// right is in the cache from here on.
    private func holds(_ sequence: LiveSequence, _ position: Int, _ token: Int32) -> Bool {
        guard position >= sequence.request.prompt.count else { return true }
        guard !sequence.isFinished, position == sequence.tokens.count - 1, sequence.tokens[position] == token else {
            return false
        }
        if position == sequence.cached {
            sequence.cached += 1
            tally(sequence, from: position, 1)
        }
        return true
    }

    /// By id; the tokens of one sequence stay in their order. Allocates nothing, and most often has nothing to do.
    func sortOutputs() {
        for index in outputs.indices.dropFirst() {
            var place = index
            while place > 0, outputs[place].id < outputs[place - 1].id {
                outputs.swapAt(place, place - 1)
                place -= 1
            }
        }
    }
}
