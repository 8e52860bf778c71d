// What is usual among numbers, and what is far from it: the lower median, and the lower median of how far each is from it. Both
// stay where they are when a few of the numbers are wild, or planted.

struct Deviation {
    /// Numbers, at most 4,096 of them: where there are more, every second is let go, then every second of the rest.
    struct Sample: Sendable {
        private static let countMax = 4096
        private(set) var values: [Int] = []
        private(set) var count = 0
        private var stride = 1

        func mapped(_ transform: (Int) -> Int) -> Sample {
            var sample = self
            sample.values = values.map(transform)
            return sample
        }

        mutating func add(_ value: Int) {
            defer { count += 1 }
            guard count % stride == 0 else { return }
            values.append(value)
            guard values.count == Self.countMax else { return }
            values = values.enumerated().filter { $0.offset.isMultiple(of: 2) }.map(\.element)
            stride *= 2
        }
    }

    let median: Int
    let spread: Int

    /// - Parameter spreadMin: rows that are all alike would make every other one stand out.
    /// - Returns: nil of nothing.
    init?(_ sample: Sample, spreadMin: Int) {
        guard let median = Self.lowerMedian(sample.values) else { return nil }
        self.median = median
        spread = max(spreadMin, Self.lowerMedian(sample.values.map { abs($0 - median) }) ?? 0)
    }

    func isFar(_ value: Int, deviations: Int) -> Bool { abs(value - median) > deviations * spread }

    func isAbove(_ value: Int, deviations: Int) -> Bool { value > median && isFar(value, deviations: deviations) }

    private static func lowerMedian(_ values: [Int]) -> Int? {
        values.isEmpty ? nil : values.sorted()[(values.count - 1) / 2]
    }
}
