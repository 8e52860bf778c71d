// The states of a run, input by input.

import Testing

@testable import Peer

@Suite struct TrainingStatusTests {
    private enum Input: CaseIterable {
        case begin, stop, pause, cancel, resume, step
    }

    /// What the desk does with the answers; a step heeds the wish.
    private func take(_ input: Input, _ status: inout TrainingStatus) {
        let answer: TrainingStatus.Answer
        switch input {
        case .begin:
            _ = status.begin()
            return
        case .step:
            guard status.state == .running, let wish = status.wish else { return }
            status.enter(wish == .stop ? .waiting : wish == .pause ? .paused : .cancelled)
            return
        case .stop: answer = status.hear(.stop)
        case .pause: answer = status.hear(.pause)
        case .cancel: answer = status.hear(.cancel)
        case .resume: answer = status.resume()
        }
        if case .enter(let state) = answer { status.enter(state) }
    }

    /// Every sequence of seven inputs: what was decided last holds once the run has ended its step.
    @Test func whatWasDecidedHolds() {
        let all = Input.allCases, sequences = 279_936
        var lost: [[Input]] = []
        for number in 0..<sequences {
            var status = TrainingStatus(state: .waiting), rest = number, isCancelled = false, isPaused = false
            var inputs: [Input] = [], isHeld = true
            for _ in 0..<7 {
                let input = all[rest % all.count]
                rest /= all.count
                inputs.append(input)
                switch input {
                case .cancel: isCancelled = true
                case .pause where !isCancelled: isPaused = true
                case .resume: isPaused = false
                default: break
                }
                take(input, &status)
                if isCancelled || isPaused, status.state == .running, status.wish == nil { isHeld = false }
            }
            take(.step, &status)
            let ends: [TrainingState] = isCancelled ? [.cancelled] : isPaused ? [.paused] : [.waiting, .running]
            if !isHeld || !ends.contains(status.state) { lost.append(inputs) }
        }
        #expect(lost.isEmpty, "\(lost.prefix(3))")
    }

    @Test func whatIsOverStaysOver() {
        for state in [TrainingState.done, .failed, .cancelled] {
            for input in Input.allCases {
                var status = TrainingStatus(state: state, reason: "why")
                take(input, &status)
                #expect(status == TrainingStatus(state: state, reason: "why"))
            }
        }
    }

    @Test func whoHasStoppedBeginsNothing() {
        var status = TrainingStatus(state: .waiting)
        #expect(status.hear(.stop) == .noted && !status.begin() && status.state == .waiting)
        var other = TrainingStatus(state: .waiting)
        #expect(other.begin() && other.hear(.pause) == .noted && other.hear(.stop) == .noted)
        #expect(other.wish == .pause)
    }
}
