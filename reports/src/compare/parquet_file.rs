//! Owns a table as a Parquet file: one row group, every column with its definition levels, nothing compressed.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::tables::{Cell, Kind, Table};

impl Table {
    /// As a Parquet file. Words are strings, whole numbers 64-bit integers, numbers doubles; all may be null.
    ///
    /// # Errors
    /// When a whole number does not fit 63 bits.
    pub fn parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let field = |(name, kind): &(String, Kind)| {
            let (physical, logical) = match kind {
                Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                Kind::Whole => (Physical::INT64, None),
                Kind::Number => (Physical::DOUBLE, None),
            };
            let field = Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical);
            field.build().map(Arc::new)
        };
        let fields = self.columns.iter().map(field).collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("row")
            .with_fields(fields)
            .build()?;
        let properties = Arc::new(WriterProperties::builder().build());
        let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties)?;
        let mut group = file.next_row_group()?;
        for (at, (_, kind)) in self.columns.iter().enumerate() {
            let mut writer = group.next_column()?.expect("as many as the schema has");
            let cells = || self.rows.iter().map(|row| &row[at]);
            let levels: Vec<i16> = cells().map(|c| i16::from(*c != Cell::Empty)).collect();
            match kind {
                Kind::Text => {
                    let text = cells().filter_map(|cell| match cell {
                        Cell::Text(text) => Some(ByteArray::from(text.as_str())),
                        _ => None,
                    });
                    let text: Vec<ByteArray> = text.collect();
                    let typed = writer.typed::<ByteArrayType>();
                    typed.write_batch(&text, Some(&levels), None)?;
                }
                Kind::Whole => {
                    let whole = cells().filter_map(|cell| match cell {
                        Cell::Whole(number) => Some(i64::try_from(*number)),
                        _ => None,
                    });
                    let whole: Vec<i64> = whole
                        .collect::<Result<_, _>>()
                        .map_err(|error| ParquetError::General(error.to_string()))?;
                    let typed = writer.typed::<Int64Type>();
                    typed.write_batch(&whole, Some(&levels), None)?;
                }
                Kind::Number => {
                    let number = cells().filter_map(|cell| match cell {
                        Cell::Number(number) => Some(*number),
                        _ => None,
                    });
                    let number: Vec<f64> = number.collect();
                    let typed = writer.typed::<DoubleType>();
                    typed.write_batch(&number, Some(&levels), None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        file.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn a_table_is_read_back_with_its_names_its_values_and_its_gaps() {
        let table = Table {
            columns: vec![
                ("group.home.picker".to_owned(), Kind::Text),
                ("seed".to_owned(), Kind::Whole),
                ("x bound".to_owned(), Kind::Number),
            ],
            rows: vec![
                vec![
                    Cell::Text("rarest, first".to_owned()),
                    Cell::Whole(7),
                    Cell::Number(1.0 / 3.0),
                ],
                vec![Cell::Empty, Cell::Whole(8), Cell::Empty],
            ],
        };
        let bytes = table.parquet().expect("a file");
        assert_eq!(bytes, table.parquet().expect("a file"), "the same bytes");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("Parquet");
        let rows: Vec<Vec<(String, Field)>> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| row.expect("a row").into_columns())
            .collect();
        let names: Vec<&str> = rows[0].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["group.home.picker", "seed", "x bound"]);
        let values = |row: usize| rows[row].iter().map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let first = [
            Field::Str("rarest, first".to_owned()),
            Field::Long(7),
            Field::Double(1.0 / 3.0),
        ];
        assert_eq!(values(0), first);
        assert_eq!(values(1), [Field::Null, Field::Long(8), Field::Null]);
    }

    #[test]
    fn a_number_that_does_not_fit_is_an_error() {
        let table = Table {
            columns: vec![("seed".to_owned(), Kind::Whole)],
            rows: vec![vec![Cell::Whole(u64::MAX)]],
        };
        assert!(table.parquet().is_err());
    }
}
