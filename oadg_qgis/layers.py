"""Layers to arrays: observations and their styles; masks: `mask.py`, rasters: `rasters.py`, grids: `grids.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from qgis.core import (
    NULL,
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeatureRequest,
    QgsField,
    QgsProcessingFeatureSource,
    QgsVectorLayer,
    QgsVectorLayerFeatureSource,
    QgsWkbTypes,
)

from ..core.contract.errors import ConditioningError, FaciesError
from ..core.contract.facies import (
    Facies,
    FaciesTable,
    Value,
    build_facies_table,
    composed,
    match_facies,
    sort_facies,
)
from ..core.contract.words import counted
from .crs import to_crs
from .models import universal_remedy

Style = Tuple[Optional[str], Optional[str]]

_INTEGER_TYPES = (2, 3, 4, 5)  # Int, UInt, LongLong and ULongLong, in QVariant of Qt 5 and in QMetaType of Qt 6
_DECIMAL_TYPE = 6
"""In which codes come from spreadsheets and tables of text, as 1.0, 2.0."""
_TEXT_TYPE = 10
_MAKERS = {8: "map_get(\"{}\", 'KEY')", 9: 'array_to_string("{}")', 11: 'array_to_string("{}")'}
"""What makes facies of maps and lists, by their types; of others, such as dates, 'to_string' does."""
_MAP_TYPE = 8
_MAKE_TEXT = 'to_string("{}")'
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Observations:
    """
    Point observations of facies, in the grid's coordinate reference system.

    Parameters
    ----------
    easting, northing : array, shape (n_points,)
        World coordinates; each part of a multipoint is a point.
    values : list of int or str
        The observed facies of each point.
    n_empty : int
        Points without a facies (NULL or blank); not among the above.
    n_nowhere : int
        Features without a usable position; not among the above.
    styles : dict
        Facies value to (name, colour) of the layer's categorised style; empty when it has none.
    attributes : list of list
        The attributes of each point's feature; empty unless they were asked for.
    field_name : str
        The field of the facies; empty where there is none.
    """

    easting: np.ndarray
    northing: np.ndarray
    values: List[Value]
    n_empty: int = 0
    n_nowhere: int = 0
    styles: Dict[Value, Style] = field(default_factory=dict)
    attributes: List[List[Any]] = field(default_factory=list)
    field_name: str = ""

    @property
    def n_points(self) -> int:
        """All points of the layer, used or not."""
        return len(self.values) + self.n_empty + self.n_nowhere

    @property
    def labels(self) -> Dict[Value, Optional[str]]:
        """Facies value to the name that the layer's style has for it."""
        return {value: name for value, (name, _) in self.styles.items()}

    @property
    def legend(self) -> List[str]:
        """The names of facies in the order of the layer's style, which may be that of the strata."""
        return [name or str(value) for value, name in self.labels.items()]

    def facies_table(self, known: Optional[FaciesTable] = None, whose: str = "model") -> Tuple[FaciesTable, np.ndarray]:
        """
        Return the facies table of all observations, and the class index of each point.

        Parameters
        ----------
        known : FaciesTable, optional
            The facies of a model, or of a map, that has no others, among which `match_facies` finds the observed ones.
            The table is then that one, with what the layer's style says of names and colours.
        whose : str
            'model' or 'map', for what is told about facies that it does not have.

        Raises
        ------
        ConditioningError
            When there is no observation.
        FaciesError
            For fewer than 2 or too many facies, one that is not known, or names and codes that contradict each other.
        """
        if not self.values:
            raise ConditioningError(
                f"There are no observations with a facies: of {counted(self.n_points, 'point')} in the layer (or its "
                f"selection), {counted(self.n_empty, 'has', 'have')} an empty facies field and {self.n_nowhere} no "
                "position. "
                "Choose a layer and a field with observed facies."
            )
        if known is not None:
            return self._facies_among(known, whose)
        facies = build_facies_table(self.values, self.styles)
        index = {value: k for k, value in enumerate(sort_facies(self.values))}
        return facies, np.array([index[value] for value in self.values])

    def _facies_among(self, known: FaciesTable, whose: str) -> Tuple[FaciesTable, np.ndarray]:
        """Return known facies, restyled, and the class index of each point among them."""
        found = match_facies(set(self.values), self.labels, known)
        unknown = sorted(str(value) for value, k in found.items() if k is None)
        if unknown:
            codes = {str(code) for code in known.codes.tolist()}
            if all(isinstance(value, str) for value in self.values) and codes.issuperset(unknown):
                raise FaciesError(
                    f"The facies {', '.join(unknown[:5])} of the observations are codes of the {whose} "
                    f"({', '.join(f'{f.name} = {f.code}' for f in known.facies)}), but the field holds them as texts, "
                    "and texts are names. Make whole numbers of them with the field calculator: "
                    f'to_int("{self.field_name or "FIELD"}").'
                )
            or_else = f", or {universal_remedy()}" if whose == "model" else ""
            raise FaciesError(
                f"The {whose} does not have the facies {', '.join(unknown[:5])} of the observations; it has "
                f"{', '.join(f'{f.name} (code {f.code})' for f in known.facies)}. Whole numbers have to be its codes, "
                f"and texts, or what the legend calls them, its names: rename them{or_else}."
            )
        styled = {k: self.styles[value] for value, k in found.items() if value in self.styles}
        facies: List[Facies] = []
        for k, own in enumerate(known.facies):
            name, color = styled.get(k, (None, None))
            name = name or own.name
            while name in {f.name for f in facies}:
                name = f"{name} ({own.name})"
            facies.append(replace(own, name=name, color=color or own.color))
        return FaciesTable(tuple(facies)), np.array([found[value] for value in self.values])


NO_OBSERVATIONS = Observations(np.empty(0), np.empty(0), [])
"""Those of a simulation without any."""


def observations_reader(
    source: QgsProcessingFeatureSource,
    layer: QgsVectorLayer,
    field_name: str,
    crs: QgsCoordinateReferenceSystem,
    transform_context: QgsCoordinateTransformContext,
    *,
    restricted: bool = False,
    with_attributes: bool = False,
) -> Callable[[], Observations]:
    """
    Return what reads observed facies from a point layer as it is now: here on the main thread, then on any.

    Parameters
    ----------
    source : QgsProcessingFeatureSource
        The layer's features, or some of them.
    layer : QgsVectorLayer
        The layer itself.
    field_name : str
        Name of the field that holds the facies: texts, or whole numbers, be they written as decimal ones.
    crs : QgsCoordinateReferenceSystem
        What the coordinates are transformed to.
    transform_context : QgsCoordinateTransformContext
        How to transform.
    restricted : bool
        Whether the source may hold fewer features than the layer, for example its selected ones.
    with_attributes : bool
        Whether the observations keep all attributes of their features.

    Returns
    -------
    callable
        Returns `Observations`; raises `FaciesError` when the field holds a number beyond 32 bits, or no whole one.

    Raises
    ------
    FaciesError
        When the field is not given, does not exist, or holds neither texts nor numbers.
    ConditioningError
        When the layer holds no points but something else.
    """
    geometry_kind = QgsWkbTypes.geometryDisplayString(QgsWkbTypes.geometryType(source.wkbType()))
    if geometry_kind != "Point":
        maker = "Centroids" if source.wkbType() != QgsWkbTypes.Type.NoGeometry else "Create points layer from table"
        raise ConditioningError(
            f"The layer {source.sourceName()!r} holds geometries of type {geometry_kind}; observations are points. "
            f"Choose a point layer, or make points of it first (for example with '{maker}')."
        )
    position, to_value = _facies_reader(source, field_name)
    request = to_crs(QgsFeatureRequest(), source, crs, transform_context)
    if not with_attributes:
        request.setSubsetOfAttributes([position])
    if restricted:
        identifiers = QgsFeatureRequest().setNoAttributes().setFlags(QgsFeatureRequest.Flag.NoGeometry)
        unchecked = QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks
        request.setFilterFids([feature.id() for feature in source.getFeatures(identifiers, unchecked)])
    # Processing's own source asks the layer, which belongs to the main thread.
    snapshot = QgsVectorLayerFeatureSource(layer)
    styles = layer_styles(layer, field_name)

    def read() -> Observations:
        coordinates: List[Tuple[float, float]] = []
        values: List[Value] = []
        attributes: List[List[Any]] = []
        n_empty = n_nowhere = 0
        for feature in snapshot.getFeatures(request):
            shape = feature.geometry().constGet()
            if shape is None or shape.isEmpty():
                n_nowhere += 1
                continue
            # A file may hold multipoints in a layer of points.
            points = list(shape.parts()) if QgsWkbTypes.isMultiType(shape.wkbType()) else (shape,)
            value = to_value(feature.attribute(position))
            if value is None:
                n_empty += len(points)
                continue
            for point in points:
                coordinates.append((point.x(), point.y()))
                values.append(value)
            if with_attributes:
                attributes += [feature.attributes()] * len(points)
        read = _observations(coordinates, values, attributes, n_empty, n_nowhere, styles)
        return replace(read, field_name=field_name)

    return read


def _observations(
    coordinates: List[Tuple[float, float]],
    values: List[Value],
    attributes: List[List[Any]],
    n_empty: int,
    n_nowhere: int,
    styles: Dict[Value, Style],
) -> Observations:
    """Return observations of what was read, less the points whose coordinates are no numbers."""
    if values:
        _check_codes(values)
    places = np.array(coordinates, dtype=float).reshape(-1, 2)
    finite = np.isfinite(places).all(axis=1)
    if not finite.all():
        places = places[finite]
        values, attributes = ([part for part, keep in zip(whole, finite) if keep] for whole in (values, attributes))
    return Observations(
        easting=places[:, 0],
        northing=places[:, 1],
        values=values,
        n_empty=n_empty,
        n_nowhere=n_nowhere + int((~finite).sum()),
        styles=styles,
        attributes=attributes,
    )


def _facies_reader(source: QgsProcessingFeatureSource, field_name: str):
    """Return the field's position and a function from attribute to facies value (None when empty)."""
    position = source.fields().lookupField(field_name)
    if position < 0:
        lacks = f"has no field {field_name!r}" if field_name else "is given without FACIES_FIELD"
        raise FaciesError(
            f"The layer {source.sourceName()!r} {lacks}; it has "
            f"{', '.join(source.fields().names()) or 'none'}. Choose the field that holds the facies."
        )
    facies_field = source.fields().at(position)
    kind = _type_number(facies_field)
    if kind in _INTEGER_TYPES:
        return position, _integer_facies
    if kind == _DECIMAL_TYPE:
        return position, partial(_decimal_facies, field_name=field_name)
    if kind == _TEXT_TYPE:
        return position, _text_facies
    tool = "'Refactor fields'" if kind == _MAP_TYPE else "the field calculator"  # which copies no maps
    raise FaciesError(
        f"The field {field_name!r} is of type {facies_field.typeName() or facies_field.displayType()}; facies are "
        f"texts or whole numbers. Choose another field, or make one with {tool}: "
        f"{_MAKERS.get(kind, _MAKE_TEXT).format(field_name)}."
    )


def _type_number(facies_field: QgsField) -> int:
    """Return the number of a field's type, the same in Qt 5 and Qt 6."""
    kind = facies_field.type()
    return int(getattr(kind, "value", kind))


def _integer_facies(value: Any) -> Optional[int]:
    # Asking for NULL is slow, and most values are numbers.
    if not isinstance(value, int):
        return None if value is None or value == NULL else int(value)
    return value


def _decimal_facies(value: Any, *, field_name: str) -> Optional[int]:
    if value is None or value == NULL or math.isnan(value):
        return None
    try:
        return _whole(value)
    except ValueError as error:
        raise FaciesError(
            f"The field {field_name!r} holds {value:g}; facies are texts or whole numbers. Is this the right field? "
            "Of measured values make classes first, with the field calculator, for example: "
            f'CASE WHEN "{field_name}" < {value:g} THEN 1 ELSE 2 END.'
        ) from error


def _whole(value: Any) -> int:
    """Return the whole number that a number, or a text, is; raise `ValueError` when it is none."""
    number = float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


def _text_facies(value: Any) -> Optional[str]:
    return (composed(value) or None) if isinstance(value, str) else None


def _check_codes(values: List[Value]) -> None:
    """Raise `FaciesError` when an integer facies does not fit into a raster."""
    for code in (min(values), max(values)):
        if isinstance(code, int) and not _INT32.min <= code <= _INT32.max:
            raise FaciesError(
                f"The facies field holds the code {code}; codes from {_INT32.min} to {_INT32.max} fit into a raster. "
                "Is this the right field? Otherwise use shorter codes, or text."
            )


def layer_styles(layer: Optional[QgsVectorLayer], field_name: str) -> Dict[Value, Style]:
    """
    Return names and colours of facies from a layer's own categorised style, else names from the field's value map.

    Parameters
    ----------
    layer : QgsVectorLayer or None
        The layer of observations. For a layer that was opened from its file alone, the style saved with the file.
    field_name : str
        The field of facies, or its alias; a style by another field tells nothing about them.
    """
    if layer is None:
        return {}
    position = layer.fields().lookupField(field_name)
    if position >= 0 and layer.project() is None and not (_is_categorised(layer) or _value_map(layer, position)):
        layer = QgsVectorLayer(layer.source(), layer.name(), layer.providerType())  # opened with its saved style
        position = layer.fields().lookupField(field_name)
    if position < 0:
        return {}
    is_number = _type_number(layer.fields().at(position)) in (*_INTEGER_TYPES, _DECIMAL_TYPE)
    named = [(value, (name, None)) for name, value in _value_map(layer, position)]
    renderer, name = layer.renderer(), layer.fields().at(position).name()
    if _is_categorised(layer) and renderer.classAttribute().strip('"').lower() in (name.lower(), field_name.lower()):
        named = []
        for category in renderer.categories():
            symbol = category.symbol()
            style = category.label().strip() or None, symbol.color().name() if symbol else None
            values = category.value() if isinstance(category.value(), list) else [category.value()]
            named += [(value, style) for value in values]
    styles: Dict[Value, Style] = {}
    for raw, style in named:
        if raw is None or raw == NULL or str(raw).strip() == "":
            continue  # the category of all other values
        try:
            value: Value = _whole(raw) if is_number else composed(str(raw))
        except ValueError:
            continue
        styles[value] = style
    return styles


def _value_map(layer: QgsVectorLayer, position: int) -> List[Tuple[str, Any]]:
    """Return the names that a field's form shows for values, and the values, if it is of the kind 'Value Map'."""
    setup = layer.editorWidgetSetup(position)
    shown = setup.config().get("map") if setup.type() == "ValueMap" else None
    maps = shown if isinstance(shown, list) else [shown or {}]  # one of all until QGIS 3.0
    return [(str(name).strip(), value) for of_value in maps for name, value in of_value.items() if str(name).strip()]


def _is_categorised(layer: QgsVectorLayer) -> bool:
    return isinstance(layer.renderer(), QgsCategorizedSymbolRenderer)
