// From logits to what a caller hears: the token, its scores, its text, the end.

import Decoding
import Tokenizers

extension Engine {
    /// Takes the logits after `position` into the sequence.
    func advance(_ sequence: LiveSequence, _ logits: UnsafePointer<Float>, position: Int) -> SequenceOutput? {
        guard !sequence.isFinished else { return nil }
        let request = sequence.request, promptCount = request.prompt.count
        if position < promptCount - 1 {
            sequence.promptScores.append(score(logits, request.prompt[position + 1], request))
            return nil
        }
        var output = SequenceOutput(id: sequence.id)
        if position == promptCount - 1, request.scoresPrompt {
            output.prompt = [GeneratedToken(id: request.prompt[0], logProbability: nil, alternatives: [])]
            output.prompt += sequence.promptScores
        }
        guard sequence.tokensMax > 0 else {
            finish(sequence, .length, &output)
            return output
        }
        let token: Int32
        switch draw(sequence, logits, position: position + 1) {
        case .token(let drawn): token = drawn
        case .failure(let reason):
            finish(sequence, reason, &output)
            return output
        }
        counters.answerTokens &+= 1
        output.token =
            request.logProbabilities == nil
            ? GeneratedToken(id: token, logProbability: nil, alternatives: []) : score(logits, token, request)
        sequence.tokens.append(token)
        sequence.history?.append(token)
        sequence.lookup?.append(token)
        let count = sequence.tokens.count - promptCount
        if let repeats = request.repeats, count > repeats.count || repeats[count - 1] != token {
            sequence.isFinished = true
            output.finish = .differs
            return output
        }
        // A grammar that has ended has nothing to go on with.
        if endTokens.contains(token), !request.ignoresEnd || sequence.constraint != nil {
            finish(sequence, .end, &output)
            return output
        }
        let (text, stopped) = sequence.stop.add(sequence.decoder?.add(token) ?? "")
        output.text = text
        if stopped {
            sequence.isFinished = true
            output.finish = .stop
        } else if count == sequence.tokensMax {
            finish(sequence, .length, &output)
        } else if count == request.repeats?.count {
            sequence.isFinished = true
            output.finish = .repeated
        }
        return output
    }

    private enum Drawn {
        case token(Int32)
        /// There is no next token.
        case failure(FinishReason)
    }

    private func draw(
        _ sequence: LiveSequence, _ logits: UnsafePointer<Float>, position: Int
    ) -> Drawn {
        let request = sequence.request
        let isShort = sequence.tokens.count - request.prompt.count < request.tokensMin
        let forbidden = isShort && sequence.constraint?.isExhausted != true ? ends : []
        let token: Int32?
        do throws(ConstraintFault) {
            let mask = try sequence.constraint?.allowed()
            // All is said and the model has no token that says so.
            if mask?.isEmpty == true { return .failure(.end) }
            token = sampler.sample(
                logits, request.sampling, position: position, history: sequence.history, mask: mask,
                forbidding: forbidden)
            if let token { try sequence.constraint?.accept(token) }
        } catch {
            return .failure(.grammar("\(error)"))
        }
        return token.map { .token($0) } ?? .failure(.notFinite)
    }

    private func score(_ logits: UnsafePointer<Float>, _ token: Int32, _ request: GenerationRequest) -> GeneratedToken {
        let (chosen, top) = sampler.logProbabilities(logits, of: token, top: request.logProbabilities ?? 0)
        return GeneratedToken(id: token, logProbability: chosen, alternatives: top)
    }

    /// Ends a sequence and shows the text that was held back.
    private func finish(_ sequence: LiveSequence, _ reason: FinishReason, _ output: inout SequenceOutput) {
        sequence.isFinished = true
        let (text, stopped) = sequence.stop.add(sequence.decoder?.finish() ?? "")
        output.text += text
        if stopped {
            output.finish = .stop
        } else {
            output.text += sequence.stop.finish()
            output.finish = reason
        }
    }
}
